// SPDX-License-Identifier: Apache-2.0
#include "benchmarks.h"

#include <benchmark/benchmark.h>
#include <fmt/core.h>

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

// A row of a contract, and the optional operands that its calls have.
struct Type {
  const char* name;
  const char* row;
  tools::OperandSet with = {};
};
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

}  // namespace

class Registrar {
 public:
  Registrar(Fixtures& fixtures, int repetitions) : fixtures_(fixtures), repetitions_(repetitions) {}

  Team& team(int ranks, int threads, Windows windows = Windows::kPrivate) {
    fixtures_.teams.push_back(std::make_unique<Team>(ranks, threads, windows));
    return *fixtures_.teams.back();
  }
  Job& job(Team& team, const Type& type, const char* shape, bool transposed, Job::Options options) {
    tools::Case c;
    c.row = require(tools::find_dtype_row(type.row));
    c.shape = require(c.op().parse_shape(shape));
    c.with = type.with;
    c.transpose_x2 = transposed;
    fmt::print(stderr, "preparing {} {} on {} ranks\n", type.row, shape, team.ranks());
    fixtures_.jobs.push_back(std::make_unique<Job>(team, c, options));
    return *fixtures_.jobs.back();
  }
  CollectiveJob& collective(Team& team, const char* what, DType dtype, std::int64_t bytes) {
    fixtures_.collectives.push_back(std::make_unique<CollectiveJob>(team, what, dtype, bytes));
    return *fixtures_.collectives.back();
  }
#ifdef WEFT_BENCH_CANN
  CDoor& c_door(const Type& type, const char* shape) {
    tools::Case c;
    c.row = require(tools::find_dtype_row(type.row));
    c.shape = require(c.op().parse_shape(shape));
    fixtures_.c_door = std::make_unique<CDoor>(c);
    return *fixtures_.c_door;
  }
  HcclJob& hccl(int ranks) {
    fixtures_.hccl = std::make_unique<HcclJob>(ranks);
    return *fixtures_.hccl;
  }
#endif
  template <typename Call>
  void add(const std::string& name, const Job& job, Call call) {
    add(name, job.flops_per_rank(), job.bytes_per_rank(), call);
  }
  template <typename Call>
  void add(const std::string& name, double flops, double bytes, Call call) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [call, flops, bytes](benchmark::State& state) {
                                   for ([[maybe_unused]] auto _ : state)
                                     state.SetIterationTime(call());
                                   state.counters["flops"] = flops;
                                   state.counters["bytes"] = bytes;
                                 })
        ->UseManualTime()
        ->Iterations(1)
        ->Repetitions(repetitions_)
        ->Unit(benchmark::kMillisecond);
  }

 private:
  Fixtures& fixtures_;
  int repetitions_;
};

namespace {

// The second of two calls: like the repeated calls that PyTorch is measured by, it finds its
// operands where the first has left them.
double warm_gemm(Job& job) {
  job.gemm();
  return job.gemm();
}

constexpr Job::Options kGemmAlone = {.fused = false, .gemm = true};

void add_gemms(Registrar& r) {
  Team& one = r.team(1, 1);
  Team& two_threads = r.team(1, 2);
  for (const char* shape : {"1024x4096:4096x4096", kWide})
    for (const Layout& layout : kLayouts)
      for (const Type& type : kFused) {
        const auto add = [&](Team& team, const char* what, const char* order,
                             Job::Options options) {
          Job& job = r.job(team, type, shape, layout.transposed, options);
          r.add(fmt::format("gemm/{}/{}/{}/{}", what, type.name, shape, order), job,
                [&job] { return warm_gemm(job); });
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
      Job& job = r.job(pair, type, kWide, layout.transposed, {.gemm = true, .unfused = unfused});
      const auto name = [&](const char* what) {
        return fmt::format("{}/{}/{}/{}/{}", section, what, type.name, kWide, layout.name);
      };
      r.add(name("fused"), job, [&job] { return job.fused(); });
      r.add(name("gemm alone"), job, [&job] { return job.gemm(); });
      if (unfused) r.add(name("separate passes"), job, [&job] { return job.unfused(); });
    }
}
void add_fused(Registrar& r) { add_pairs(r, "fused", kFused, true); }
void add_allreduce(Registrar& r) { add_pairs(r, "allreduce", kAllReduce, false); }
void add_reduce_scatter(Registrar& r) { add_pairs(r, "reduce scatter", kReduceScatter, false); }

void add_weights(Registrar& r) {
  Team& pair = r.team(2, 1);
  for (const Layout& layout : kLayouts)
    for (const Type& type : kWeights) {
      Job& job = r.job(pair, type, kWide, layout.transposed, {});
      r.add(fmt::format("weights/fused/{}/{}/{}", type.name, kWide, layout.name), job,
            [&job] { return job.fused(); });
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
    Job& job = r.job(pair, type, kWide, false, {.gemm = true, .link_bytes_per_s = bytes_per_s});
    r.add(fmt::format("int8 communication/{}/{}/{}/row-major", what, link, kWide), job,
          [&job] { return job.fused(); });
    return &job;
  };
  constexpr std::pair<const char*, double> kLinks[] = {
      {"1 GB s", 1e9}, {"2 GB s", 2e9}, {"4 GB s", 4e9}, {"8 GB s", 8e9}, {"memory", 0}};
  for (const auto& [link, bytes_per_s] : kLinks) {
    add(as_float16, "float16", link, bytes_per_s);
    Job* job = add(as_int8, "int8", link, bytes_per_s);
    if (bytes_per_s > 0) continue;
    r.add(fmt::format("int8 communication/conversions/{}/{}/row-major", link, kWide), *job,
          [job] { return job->conversions(); });
  }
}

void add_decode(Registrar& r) {
  Team& pair = r.team(2, 1);
  for (const char* shape : {"1x2048:2048x4096", "8x2048:2048x4096"})
    for (const Type& type : kFused) {
      Job& job = r.job(pair, type, shape, true, {.weights = kDecodeWeights});
      r.add(fmt::format("decode/fused/{}/{}/transposed", type.name, shape), job,
            [&job] { return job.fused_steps(kDecodeSteps); });
      r.add(fmt::format("decode/read weights/{}/{}/transposed", type.name, shape), job,
            [&job] { return job.read_weight(); });
    }
}

void add_decode_weights(Registrar& r) {
  Team& pair = r.team(2, 1);
  for (const char* shape : {"1x2048:2048x4096", "8x2048:2048x4096", "16x2048:2048x4096"})
    for (const Type& type : kWeights) {
      Job& job = r.job(pair, type, shape, true, {.gemm = true, .weights = kDecodeWeights});
      r.add(fmt::format("decode weights/fused/{}/{}/transposed", type.name, shape), job,
            [&job] { return job.fused_steps(kDecodeSteps); });
      r.add(fmt::format("decode weights/gemm alone/{}/{}/transposed", type.name, shape), job,
            [&job] { return job.gemm_steps(kDecodeSteps); });
    }
}

void add_add_rmsnorm(Registrar& r) {
  const Type types[] = {{"float16", "F16"}, {"bfloat16", "BF16"}, {"float32", "F32"}};
  for (int threads : {1, 2}) {
    Team& team = r.team(1, threads);
    for (const Type& type : types) {
      Job& job = r.job(team, type, "4096x8192", false, {});
      r.add(fmt::format("add_rmsnorm/{} thread{}/{}/4096x8192", threads, threads > 1 ? "s" : "",
                        type.name),
            job, [&job] { return job.fused(); });
    }
  }
}

// KiB, and how many calls follow each other, as those of a model do: gloo is measured like this.
constexpr std::pair<std::int64_t, int> kSizes[] = {
    {64, 20}, {1 << 10, 10}, {16 << 10, 8}, {64 << 10, 4}};

void add_collectives(Registrar& r) {
  Team& pair = r.team(2, 1, Windows::kShared);
  const auto add = [&](const char* what, DType dtype, std::int64_t kib, int steps) {
    CollectiveJob& job = r.collective(pair, what, dtype, kib << 10);
    r.add(fmt::format("collectives/{}/{}/{} KiB", what, to_string(dtype), kib), 0,
          job.bytes_per_rank(), [&job, steps] { return job.steps(steps); });
  };
  for (const auto& [kib, steps] : kSizes)
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32})
      add("allreduce", dtype, kib, steps);
  for (const char* what : {"reduce_scatter", "allgather", "alltoall"})
    add(what, DType::kFloat16, 16 << 10, 8);
}

#ifdef WEFT_BENCH_CANN
void add_c_door(Registrar& r) {
  constexpr const char* kShape = "1x1024:1024x1024";
  CDoor& door = r.c_door(kAllReduce[0], kShape);
  const auto add = [&](const char* what, double (CDoor::*call)()) {
    r.add(fmt::format("c door/{}/float16/{}/row-major", what, kShape), 0, 0,
          [&door, call] { return (door.*call)(); });
  };
  add("plan and run", &CDoor::native);
  add("run again", &CDoor::run_again);
  add("two phases", &CDoor::both_phases);
  add("empty task", &CDoor::hand_off);
}

void add_hccl(Registrar& r) {
  HcclJob& job = r.hccl(2);
  for (const auto& [kib, steps] : kSizes)
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16})
      r.add(fmt::format("hccl/allreduce/{}/{} KiB", to_string(dtype), kib), 0,
            2.0 * static_cast<double>(kib << 10),
            [&job, dtype, bytes = kib << 10, steps] { return job.allreduce(dtype, bytes, steps); });
  r.add("hccl/empty task/none/0 KiB", 0, 0, [&job] { return job.hand_off(100); });
}
#endif

void add_many_ranks(Registrar& r) {
  Team& eight = r.team(8, 1);
  constexpr const char* kShape = "4x1024x1024:1024x8192";
  Job& job = r.job(eight, kFused[0], kShape, false, {.gemm = true});
  r.add(fmt::format("8 ranks/fused/float16/{}/row-major", kShape), job,
        [&job] { return job.fused(); });
  r.add(fmt::format("8 ranks/gemm of one rank/float16/{}/row-major", kShape), job,
        [&job] { return job.gemm_of(0); });
}

}  // namespace

const std::vector<Section>& sections() {
  static const std::vector<Section> all = {{"gemm", add_gemms},
                                           {"fused", add_fused},
                                           {"allreduce", add_allreduce},
                                           {"reduce scatter", add_reduce_scatter},
                                           {"weights", add_weights},
                                           {"int8 communication", add_int8_communication},
                                           {"decode", add_decode},
                                           {"decode weights", add_decode_weights},
                                           {"add_rmsnorm", add_add_rmsnorm},
                                           {"collectives", add_collectives},
#ifdef WEFT_BENCH_CANN
                                           {"c door", add_c_door},
                                           {"hccl", add_hccl},
#endif
                                           {"8 ranks", add_many_ranks}};
  return all;
}

void register_section(const Section& section, Fixtures& fixtures, int repetitions) {
  Registrar registrar(fixtures, repetitions);
  section.add(registrar);
}

}  // namespace weft::bench
