// SPDX-License-Identifier: Apache-2.0
#include "benchmarks.h"

#include <fmt/core.h>

#include "base/topology.h"
#include "operators/cases.h"
#include "operators/operator.h"

namespace weft::bench {
namespace {

using tools::OperandId;

struct Layout {
  const char* name;
  bool transposed;
};
constexpr Layout kLayouts[] = {{"row-major", false}, {"transposed", true}};

const Type kFused[] = {{"float16", "A1"}, {"bfloat16", "A2"}, {"int8", "A3"}};
const Type kAllReduce[] = {
    {"float16", "N1"}, {"bfloat16", "N2"}, {"int8", "Q4", {OperandId::kPertokenScale}}};
const Type kReduceScatter[] = {
    {"float16", "R1"}, {"bfloat16", "R2"}, {"int8", "R4", {OperandId::kX1Scale}}};
const Type kWeights[] = {{"float16", "N1"},  {"float16 int8", "W1"},  {"float16 int4", "W3"},
                         {"bfloat16", "N2"}, {"bfloat16 int8", "W2"}, {"bfloat16 int4", "W4"}};

constexpr const char* kWide = "4096x1024:1024x8192";

// A decode step follows the last one at once, so this many are measured in a row, each with another
// weight (256 MiB of 16-bit ones).
constexpr int kDecodeSteps = 32;
constexpr int kDecodeWeights = 16;
double fused_steps(Job& job) { return job.fused_steps(kDecodeSteps); }
double gemm_steps(Job& job) { return job.gemm_steps(kDecodeSteps); }

// The second of two calls: like the repeated calls that PyTorch is measured by, it finds its
// operands where the first has left them.
double warm_gemm(Job& job) {
  job.gemm();
  return job.gemm();
}

constexpr Job::Options kGemmAlone = {.fused = false, .gemm = true};

// Products of few rows, each with a weight that is in memory and in no cache.
void add_few_rows(Registrar& r) {
  Team& one = r.team(1, 1);
  const Type types[] = {{"float16", "N1"},      {"bfloat16", "N2"},      {"int8", "A3"},
                        {"float16 int8", "W1"}, {"bfloat16 int8", "W2"}, {"float16 int4", "W3"},
                        {"bfloat16 int4", "W4"}};
  for (const Layout& layout : kLayouts)
    for (const char* shape : {"1x2048:2048x4096", "8x2048:2048x4096", "16x2048:2048x4096"})
      for (const Type& type : types) {
        Job::Options options = kGemmAlone;
        options.weights = kDecodeWeights;
        Job* job = r.job(one, type, shape, layout.transposed, options);
        const auto add = [&](const char* what, auto call) {
          r.add(fmt::format("few rows/{}/{}/{}/{}", what, type.name, shape, layout.name), job,
                call);
        };
        add("product", gemm_steps);
        if (shape[1] == 'x') add("read weights", &Job::read_weight);
      }
}

void add_gemms(Registrar& r) {
  Team& one = r.team(1, 1);
  Team& two_threads = r.team(1, 2);
  for (const char* shape : {"1024x4096:4096x4096", kWide})
    for (const Layout& layout : kLayouts)
      for (const Type& type : kFused) {
        const auto add = [&](Team& team, const char* what, const char* order,
                             Job::Options options) {
          Job* job = r.job(team, type, shape, layout.transposed, options);
          r.add(fmt::format("gemm/{}/{}/{}/{}", what, type.name, shape, order), job, warm_gemm);
        };
        add(one, "1 thread", layout.name, kGemmAlone);
        if (!layout.transposed) add(two_threads, "2 threads", layout.name, kGemmAlone);
        if (shape != kWide) continue;
        Job::Options nz = kGemmAlone;
        nz.nz = true;
        add(one, "1 thread", layout.transposed ? "NZ transposed" : "NZ", nz);
      }
}

// An operator on two ranks, beside its product alone and, where there are any, separate passes.
void add_pairs(Registrar& r, const char* section, std::span<const Type> types, bool unfused) {
  Team& pair = r.team(2, 1);
  for (const Layout& layout : kLayouts)
    for (const Type& type : types) {
      Job* job = r.job(pair, type, kWide, layout.transposed, {.gemm = true, .unfused = unfused});
      const auto name = [&](const char* what) {
        return fmt::format("{}/{}/{}/{}/{}", section, what, type.name, kWide, layout.name);
      };
      r.add(name("fused"), job, &Job::fused);
      r.add(name("gemm alone"), job, &Job::gemm);
      if (unfused) r.add(name("separate passes"), job, &Job::unfused);
    }
}
void add_fused(Registrar& r) { add_pairs(r, "fused", kFused, true); }
void add_allreduce(Registrar& r) { add_pairs(r, "allreduce", kAllReduce, false); }
void add_reduce_scatter(Registrar& r) { add_pairs(r, "reduce scatter", kReduceScatter, false); }

void add_weights(Registrar& r) {
  Team& pair = r.team(2, 1);
  for (const Layout& layout : kLayouts)
    for (const Type& type : kWeights) {
      Job* job = r.job(pair, type, kWide, layout.transposed, {});
      r.add(fmt::format("weights/fused/{}/{}/{}", type.name, kWide, layout.name), job, &Job::fused);
    }
}

void add_int8_communication(Registrar& r) {
  Team& pair = r.team(2, 1);
  const Type as_float16 = {"", "Q4", {OperandId::kPertokenScale}};
  const Type as_int8 = {
      "",
      "Q4",
      {OperandId::kPertokenScale, OperandId::kCommQuantScale1, OperandId::kCommQuantScale2}};
  const auto add = [&](const Type& type, const char* what, const char* link, double bytes_per_s) {
    Job* job = r.job(pair, type, kWide, false, {.gemm = true, .link_bytes_per_s = bytes_per_s});
    r.add(fmt::format("int8 communication/{}/{}/{}/row-major", what, link, kWide), job,
          &Job::fused);
    return job;
  };
  constexpr std::pair<const char*, double> kLinks[] = {
      {"1 GB s", 1e9}, {"2 GB s", 2e9}, {"4 GB s", 4e9}, {"8 GB s", 8e9}, {"memory", 0}};
  for (const auto& [link, bytes_per_s] : kLinks) {
    add(as_float16, "float16", link, bytes_per_s);
    Job* job = add(as_int8, "int8", link, bytes_per_s);
    if (bytes_per_s > 0) continue;
    r.add(fmt::format("int8 communication/conversions/{}/{}/row-major", link, kWide), job,
          &Job::conversions);
  }
}

void add_decode(Registrar& r) {
  Team& pair = r.team(2, 1);
  for (const char* shape : {"1x2048:2048x4096", "8x2048:2048x4096"})
    for (const Type& type : kFused) {
      Job* job = r.job(pair, type, shape, true, {.weights = kDecodeWeights});
      r.add(fmt::format("decode/fused/{}/{}/transposed", type.name, shape), job, fused_steps);
      r.add(fmt::format("decode/read weights/{}/{}/transposed", type.name, shape), job,
            &Job::read_weight);
    }
}

void add_decode_weights(Registrar& r) {
  Team& pair = r.team(2, 1);
  for (const char* shape : {"1x2048:2048x4096", "8x2048:2048x4096", "16x2048:2048x4096"})
    for (const Type& type : kWeights) {
      Job::Options options = {.gemm = true, .weights = kDecodeWeights};
      options.exchange = shape[0] == '8';  // 64 KiB of partial sums
      Job* job = r.job(pair, type, shape, true, options);
      r.add(fmt::format("decode weights/fused/{}/{}/transposed", type.name, shape), job,
            fused_steps);
      r.add(fmt::format("decode weights/gemm alone/{}/{}/transposed", type.name, shape), job,
            gemm_steps);
      if (options.exchange)
        r.add(fmt::format("decode weights/exchange/{}/{}/transposed", type.name, shape), job,
              [](Job& steps) { return steps.exchange(kDecodeSteps); });
    }
}

void add_add_rmsnorm(Registrar& r) {
  const Type types[] = {{"float16", "F16"}, {"bfloat16", "BF16"}, {"float32", "F32"}};
  for (int threads : {1, 2}) {
    Team& team = r.team(1, threads);
    for (const Type& type : types) {
      Job* job = r.job(team, type, "4096x8192", false, {});
      r.add(fmt::format("add_rmsnorm/{} thread{}/{}/4096x8192", threads, threads > 1 ? "s" : "",
                        type.name),
            job, &Job::fused);
    }
  }
}

void add_activation(Registrar& r) {
  for (const ActivationCase& c : activation_cases()) {
    ActivationJob* job = r.activation(c);
    r.add(fmt::format("activation/{}/{}/1024x4096/{}", c.function_name, c.form_name,
                      c.gated ? "gated" : "alone"),
          job, Work(), &ActivationJob::run);
  }
}

void add_ffn(Registrar& r) {
  Team& one = r.team(1, 1);
  Team& two_threads = r.team(1, 2);
  const auto add = [&](const char* type, Activation activation, bool products, bool threads) {
    const FfnProblem p = {.type = type,
                          .tokens = 1024,
                          .k1 = 4096,
                          .k2 = 11008,
                          .n2 = 4096,
                          .activation = activation};
    FfnJob* job = r.ffn(one, p, {.products = products});
    r.add(p.name("ffn", "fused"), job, &FfnJob::fused);
    if (products) r.add(p.name("ffn", "two products"), job, &FfnJob::products);
    if (threads) r.add(p.name("ffn", "2 threads"), r.ffn(two_threads, p, {}), &FfnJob::fused);
  };
  for (const char* type : {"bfloat16", "float16"}) add(type, Activation::kGelu, true, true);
  for (const char* type :
       {"int8", "bfloat16 int8", "bfloat16 int4", "float16 int8", "float16 int4"})
    add(type, Activation::kGelu, false, false);
  for (const char* type : {"bfloat16", "float16"}) add(type, Activation::kSwiglu, true, false);
}

void add_ffn_experts(Registrar& r) {
  Team& one = r.team(1, 1);
  Team& two_threads = r.team(1, 2);
  for (const Deal deal : {Deal::kEqual, Deal::kSkewed})
    for (const char* type : {"bfloat16", "float16"}) {
      const FfnProblem p = {.type = type,
                            .tokens = 2048,
                            .k1 = 2048,
                            .k2 = 1408,
                            .n2 = 2048,
                            .deal = deal,
                            .experts = 16};
      r.add(p.name("ffn experts", "fused"), r.ffn(one, p, {}), &FfnJob::fused);
      r.add(p.name("ffn experts", "2 threads"), r.ffn(two_threads, p, {}), &FfnJob::fused);
    }
}

// Steps of a dense FFN follow each other, each with other weights or with more than caches hold.
double ffn_steps(FfnJob& job) { return job.fused_steps(4); }

void add_ffn_decode(Registrar& r) {
  Team& one = r.team(1, 1);
  // What is measured with weights as (n, k) also reads them.
  const auto add = [&](FfnProblem p, auto call, bool read) {
    FfnJob* job = r.ffn(one, p, {.cold = true});
    r.add(p.name("ffn decode", "fused"), job, call);
    if (read) r.add(p.weights_name("ffn decode", "read weights"), job, &FfnJob::read_weights);
  };
  const FfnProblem dense = {.tokens = 1, .k1 = 4096, .k2 = 11008, .n2 = 4096};
  const FfnProblem experts = {
      .tokens = 8, .k1 = 2048, .k2 = 1408, .n2 = 2048, .deal = Deal::kTopOf, .experts = 64};
  for (const bool transposed : {true, false}) {
    for (const char* type : {"bfloat16", "bfloat16 int8", "bfloat16 int4", "int8"})
      for (const std::int64_t tokens : {1, 8}) {
        FfnProblem p = dense;
        p.type = type, p.tokens = tokens, p.transposed = transposed;
        add(p, ffn_steps, transposed && tokens == 1);
      }
    for (const char* type : {"bfloat16", "float16"}) {
      FfnProblem p = experts;
      p.type = type, p.transposed = transposed;
      add(p, &FfnJob::fused, transposed);
    }
  }
}

// KiB, and how many calls follow each other, as those of a model do: gloo is measured like this.
constexpr std::pair<std::int64_t, int> kSizes[] = {
    {64, 20}, {1 << 10, 10}, {16 << 10, 8}, {64 << 10, 4}};

void add_collectives(Registrar& r) {
  Team& pair = r.team(2, 1, Windows::kShared);
  const auto add = [&](const char* what, DType dtype, std::int64_t kib, int steps) {
    CollectiveJob* job = r.collective(pair, what, dtype, kib << 10);
    r.add(fmt::format("collectives/{}/{}/{} KiB", what, to_string(dtype), kib), job,
          [steps](CollectiveJob& calls) { return calls.steps(steps); });
  };
  for (const auto& [kib, steps] : kSizes)
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32})
      add("allreduce", dtype, kib, steps);
  for (const char* what : {"reduce_scatter", "allgather", "alltoall"})
    add(what, DType::kFloat16, 16 << 10, 8);
}

// Ranks as of several processes, like those that PyTorch is measured with.
constexpr int kMoeRanks[] = {2, 8};

void add_moe(Registrar& r, const MoeProblem& p, bool combine) {
  MoeJob* job = r.moe(r.team(p.ranks, 1, Windows::kShared), p, {.combine = combine});
  const char* section = combine ? "moe combine" : "moe dispatch";
  r.add(p.name(section, "fused"), job, combine ? &MoeJob::combine : &MoeJob::dispatch);
  r.add(p.name(section, "copying"), job, &MoeJob::copy);
}

void add_moe_dispatch(Registrar& r) {
  for (const int ranks : kMoeRanks)
    for (const char* type : {"bfloat16", "int8"})
      add_moe(r, {.type = type, .ranks = ranks, .tokens = 128}, false);
}

void add_moe_combine(Registrar& r) {
  for (const int ranks : kMoeRanks) add_moe(r, {.ranks = ranks, .tokens = 128}, true);
}

void add_moe_decode(Registrar& r) {
  for (const int ranks : kMoeRanks) {
    const MoeProblem p = {.ranks = ranks};
    MoeJob* job = r.moe(r.team(ranks, 1, Windows::kShared), p, {.combine = true});
    r.add(p.name("moe decode", "fused"), job,
          [](MoeJob& steps) { return steps.pair_steps(kDecodeSteps); });
  }
}

#ifdef WEFT_BENCH_CANN
void add_c_door(Registrar& r) {
  constexpr const char* kShape = "1x1024:1024x1024";
  CDoor* door = r.c_door(kAllReduce[0], kShape);
  const auto add = [&](const char* what, double (CDoor::*call)()) {
    r.add(fmt::format("c door/{}/float16/{}/row-major", what, kShape), door, Work(), call);
  };
  add("plan and run", &CDoor::native);
  add("run again", &CDoor::run_again);
  add("two phases", &CDoor::both_phases);
  add("empty task", &CDoor::hand_off);
}

void add_hccl(Registrar& r) {
  HcclJob* job = r.hccl(2);
  const int cores = std::min(2, topology().usable_cpus);
  for (const auto& [kib, steps] : kSizes)
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16})
      r.add(fmt::format("hccl/allreduce/{}/{} KiB", to_string(dtype), kib), job,
            Work{.bytes = 2.0 * static_cast<double>(kib << 10), .ranks = 2, .cores = cores},
            [dtype, bytes = kib << 10, steps](HcclJob& calls) {
              return calls.allreduce(dtype, bytes, steps);
            });
  r.add("hccl/empty task/none/0 KiB", job, Work(),
        [](HcclJob& calls) { return calls.hand_off(100); });
}
#endif

void add_many_ranks(Registrar& r) {
  Team& eight = r.team(8, 1);
  constexpr const char* kShape = "4x1024x256:256x8192";  // k = 2048, divided
  Job* job = r.job(eight, kFused[0], kShape, false, {.gemm = true, .unfused = true});
  r.add(fmt::format("8 ranks/fused/float16/{}/row-major", kShape), job, &Job::fused);
  r.add(fmt::format("8 ranks/separate passes/float16/{}/row-major", kShape), job, &Job::unfused);
  r.add(fmt::format("8 ranks/gemm of one rank/float16/{}/row-major", kShape), job,
        [](Job& all) { return all.gemm_of(0); });
}

}  // namespace

const std::vector<Section>& sections() {
  static const std::vector<Section> all = {{"gemm", 20, add_gemms},
                                           {"few rows", 4, add_few_rows},
                                           {"small", 2, add_small},
                                           {"fused", 25, add_fused},
                                           {"allreduce", 10, add_allreduce},
                                           {"reduce scatter", 9, add_reduce_scatter},
                                           {"weights", 7, add_weights},
                                           {"int8 communication", 6, add_int8_communication},
                                           {"decode", 4, add_decode},
                                           {"decode weights", 6, add_decode_weights},
                                           {"add_rmsnorm", 2, add_add_rmsnorm},
                                           {"activation", 1, add_activation},
                                           {"ffn", 20, add_ffn},
                                           {"ffn experts", 4, add_ffn_experts},
                                           {"ffn decode", 6, add_ffn_decode},
                                           {"moe dispatch", 2, add_moe_dispatch},
                                           {"moe combine", 2, add_moe_combine},
                                           {"moe decode", 1, add_moe_decode},
                                           {"collectives", 2, add_collectives},
#ifdef WEFT_BENCH_CANN
                                           {"c door", 1, add_c_door},
                                           {"hccl", 1, add_hccl},
#endif
                                           {"8 ranks", 7, add_many_ranks}};
  return all;
}

}  // namespace weft::bench
