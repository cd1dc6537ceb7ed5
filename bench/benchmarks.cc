// SPDX-License-Identifier: Apache-2.0
#include "benchmarks.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "cases.h"

namespace weft::bench {
namespace {

struct Layout {
  const char* name;
  bool transposed;
};
constexpr Layout kLayouts[] = {{"row-major", false}, {"transposed", true}};

// Rows of the contract: one per kind of kernel.
struct Type {
  const char* name;
  const char* row;
};
constexpr Type kTypes[] = {{"float16", "A1"}, {"bfloat16", "A2"}, {"int8", "A3"}};

// A decode step follows the last one at once, so this many are measured in a row, each with another
// weight (256 MiB of 16-bit ones).
constexpr int kDecodeSteps = 32;
constexpr int kDecodeWeights = 16;

}  // namespace

class Registrar {
 public:
  Registrar(Fixtures& fixtures, int repetitions) : fixtures_(fixtures), repetitions_(repetitions) {}

  Team& team(int ranks, int threads) {
    fixtures_.teams.push_back(std::make_unique<Team>(ranks, threads));
    return *fixtures_.teams.back();
  }
  Job& job(Team& team, const char* row, const char* shape, bool transposed, Job::Options options) {
    tools::Case c;
    c.shape = require(tools::parse_shape(shape));
    c.row = require(tools::find_dtype_row(row));
    c.transpose_x2 = transposed;
    fmt::print(stderr, "preparing {} {} on {} ranks\n", row, c.shape.text(), team.ranks());
    fixtures_.jobs.push_back(std::make_unique<Job>(team, tools::RandomSource(c), options));
    return *fixtures_.jobs.back();
  }
  template <typename Call>
  void add(const std::string& name, const Job& job, Call call) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [call, flops = job.flops_per_rank()](benchmark::State& state) {
                                   for ([[maybe_unused]] auto _ : state)
                                     state.SetIterationTime(call());
                                   state.counters["flops"] = flops;
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

void add_gemms(Registrar& r) {
  Team& one = r.team(1, 1);
  Team& two_threads = r.team(1, 2);
  for (const char* shape : {"1024x4096:4096x4096", "4096x1024:1024x8192"})
    for (const Layout& layout : kLayouts)
      for (const Type& type : kTypes) {
        Job& job =
            r.job(one, type.row, shape, layout.transposed, {.unfused = true, .fused = false});
        r.add(fmt::format("gemm/1 thread/{}/{}/{}", type.name, shape, layout.name), job,
              [&job] { return warm_gemm(job); });
        if (layout.transposed) continue;
        Job& both = r.job(two_threads, type.row, shape, false, {.unfused = true, .fused = false});
        r.add(fmt::format("gemm/2 threads/{}/{}/{}", type.name, shape, layout.name), both,
              [&both] { return warm_gemm(both); });
      }
}

void add_fused(Registrar& r) {
  Team& pair = r.team(2, 1);
  constexpr const char* kShape = "4096x1024:1024x8192";
  for (const Layout& layout : kLayouts)
    for (const Type& type : kTypes) {
      Job& job = r.job(pair, type.row, kShape, layout.transposed, {.unfused = true});
      const auto name = [&](const char* what) {
        return fmt::format("fused/{}/{}/{}/{}", what, type.name, kShape, layout.name);
      };
      r.add(name("fused"), job, [&job] { return job.fused(); });
      r.add(name("gemm alone"), job, [&job] { return job.gemm(); });
      r.add(name("separate passes"), job, [&job] { return job.unfused(); });
    }
}

void add_decode(Registrar& r) {
  Team& pair = r.team(2, 1);
  for (const char* shape : {"1x2048:2048x4096", "8x2048:2048x4096"})
    for (const Type& type : kTypes) {
      Job& job = r.job(pair, type.row, shape, true, {.weights = kDecodeWeights});
      r.add(fmt::format("decode/fused/{}/{}/transposed", type.name, shape), job,
            [&job] { return job.fused_steps(kDecodeSteps); });
      r.add(fmt::format("decode/read weights/{}/{}/transposed", type.name, shape), job,
            [&job] { return job.read_weight(); });
    }
}

void add_many_ranks(Registrar& r) {
  Team& eight = r.team(8, 1);
  constexpr const char* kShape = "4x1024x1024:1024x8192";
  Job& job = r.job(eight, "A1", kShape, false, {.unfused = true});
  r.add(fmt::format("8 ranks/fused/float16/{}/row-major", kShape), job,
        [&job] { return job.fused(); });
  r.add(fmt::format("8 ranks/gemm of one rank/float16/{}/row-major", kShape), job,
        [&job] { return job.gemm_of(0); });
}

}  // namespace

const std::vector<Section>& sections() {
  static const std::vector<Section> all = {{"gemm", add_gemms},
                                           {"fused", add_fused},
                                           {"decode", add_decode},
                                           {"8 ranks", add_many_ranks}};
  return all;
}

void register_section(const Section& section, Fixtures& fixtures, int repetitions) {
  Registrar registrar(fixtures, repetitions);
  section.add(registrar);
}

}  // namespace weft::bench
