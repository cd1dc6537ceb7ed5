// SPDX-License-Identifier: Apache-2.0
#include "registrar.h"

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>

#include "base/memory.h"
#include "base/topology.h"

namespace weft::bench {
namespace {

tools::Case make_case(const Type& type, const char* shape, bool transposed) {
  tools::Case c;
  c.row = require(tools::find_dtype_row(type.row));
  c.shape = require(c.op().parse_shape(shape));
  c.with = type.with;
  c.transpose_x2 = transposed;
  return c;
}

// Collects the time of each call.
class Collector : public benchmark::BenchmarkReporter {
 public:
  Collector(Results& results, std::function<void()> called)
      : results_(results), called_(std::move(called)) {}
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs)
      results_.at(run.run_name.function_name).seconds.push_back(run.real_accumulated_time);
    called_();
  }

 private:
  Results& results_;
  std::function<void()> called_;
};

}  // namespace

Team& Registrar::team(int ranks, int threads, Windows windows) {
  return *keep(teams_, std::make_unique<Team>(ranks, threads, windows));
}

Job* Registrar::job(Team& team, const Type& type, const char* shape, bool transposed,
                    Job::Options options) {
  const tools::Case c = make_case(type, shape, transposed);
  if (!time_for_another(seconds_of(c, team.ranks(), options))) return nullptr;
  return keep(jobs_, std::make_unique<Job>(team, c, options));
}

CollectiveJob* Registrar::collective(Team& team, const char* what, DType dtype,
                                     std::int64_t bytes) {
  if (!time_for_another()) return nullptr;
  return keep(collectives_, std::make_unique<CollectiveJob>(team, what, dtype, bytes));
}

ActivationJob* Registrar::activation(const ActivationCase& c) {
  if (!time_for_another()) return nullptr;
  return keep(activations_, std::make_unique<ActivationJob>(c));
}

FfnJob* Registrar::ffn(Team& team, const FfnProblem& problem, FfnJob::Options options) {
  const int kinds = options.products ? 2 : 1;
  if (!time_for_another(kinds * (1 + kFewestCalls) * problem.flops() / flops_per_s_))
    return nullptr;
  return keep(ffns_, std::make_unique<FfnJob>(team, problem, ffn_weights_, options));
}

MoeJob* Registrar::moe(Team& team, const MoeProblem& problem, MoeJob::Options options) {
  if (!time_for_another()) return nullptr;
  return keep(moes_, std::make_unique<MoeJob>(team, problem, options));
}

#ifdef WEFT_BENCH_CANN
CDoor* Registrar::c_door(const Type& type, const char* shape) {
  if (!time_for_another()) return nullptr;
  c_door_ = std::make_unique<CDoor>(make_case(type, shape, false));
  return c_door_.get();
}

HcclJob* Registrar::hccl(int ranks) {
  if (!time_for_another()) return nullptr;
  hccl_ = std::make_unique<HcclJob>(ranks);
  return hccl_.get();
}
#endif

// What a job and the fewest calls take at that speed. Two more calls of each kind warm it up.
double Registrar::seconds_of(const tools::Case& c, int ranks, const Job::Options& options) const {
  const double flops =
      2.0 * static_cast<double>(c.shape.m() * c.shape.n) * static_cast<double>(c.shape.k_of(0));
  const int kinds = options.fused + options.gemm + options.unfused;
  const int turns = ceil_div(ranks, std::min(ranks, topology().usable_cpus));
  return kinds * (2 + kFewestCalls) * turns * flops / flops_per_s_;
}

// There is, if one that takes as long as the longest so far leaves enough for the other calls of
// those that are there. `first_s`: what is expected of the first.
bool Registrar::time_for_another(double first_s) {
  const double now_s = budget_.passed();
  if (count_ > 0) longest_s_ = std::max(longest_s_, now_s - fixture_begin_s_);
  fixture_begin_s_ = now_s;
  progress_.step(0, 1, fmt::format("{}, {} prepared", title_, count_));
  progress_.draw();
  return budget_.left() > (count_ > 0 ? longest_s_ + (kFewestCalls - 1) * round_s_ : first_s);
}

void Registrar::add(const std::string& name, const Work& work, std::function<double()> call) {
  const double begin_s = budget_.passed();
  results_[name] = {work, {call()}};
  round_s_ += budget_.passed() - begin_s;
  ++count_;
  benchmark::RegisterBenchmark(name.c_str(),
                               [call = std::move(call)](benchmark::State& state) {
                                 for ([[maybe_unused]] auto _ : state)
                                   state.SetIterationTime(call());
                               })
      ->UseManualTime()
      ->Iterations(1);
}

int Registrar::run(int repetitions) {
  if (count_ == 0) return 0;
  int calls = 1, done = 0;
  Collector collector(results_, [&] {
    progress_.step(0, 2, fmt::format("{}, call {}: {} of {}", title_, calls + 1, ++done, count_));
    progress_.draw();
  });
  for (; calls < repetitions && (calls < kFewestCalls || budget_.left() > round_s_); ++calls) {
    done = 0;
    benchmark::RunSpecifiedBenchmarks(&collector, ".*");
  }
  benchmark::ClearRegisteredBenchmarks();
  return calls;
}

}  // namespace weft::bench
