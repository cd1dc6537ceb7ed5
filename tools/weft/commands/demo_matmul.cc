// SPDX-License-Identifier: Apache-2.0
// weft demo: the end of a tensor-parallel layer.
#include <fmt/core.h>

#include <algorithm>

#include "base/topology.h"
#include "commands/demo.h"
#include "jobs/machine.h"
#include "jobs/verify.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

constexpr const char* kShape = "4x1024x1024:1024x8192";
constexpr int kWarmup = 1, kRepeat = 5;
// Reference products: a few rows, about a second.
constexpr double kBudget = 6e8;
constexpr int kSteps = 4;

Case demo_case() {
  CaseArguments arguments;
  arguments.shape = kShape;
  Case made = *make_case(matmul_allreduce_add_rmsnorm_operator(), arguments);
  // Ranks with the same residual and gamma must hold the same bits in y and norm_out.
  made.equal_tail = true;
  return made;
}

void print_job(const Case& made) {
  const std::int64_t k = made.shape.k_of(0), n = made.shape.n;
  fmt::print("{}: {} rank processes on {} usable core(s)\n", made.op().name(), kDemoRanks,
             topology().usable_cpus);
  fmt::print(
      "  y        = sum over ranks of (x1 x2) + residual\n"
      "  norm_out = y / sqrt(mean(y^2) + {}) gamma\n",
      made.epsilon);
  fmt::print(
      "  each rank: x1 (4, 1024, {0}), x2 ({0}, {1}), residual (4, 1024, {1}), gamma ({1}), "
      "float16\n\n",
      k, n);
}

Status check_results(const RandomSource& source, const Job& job,
                     const std::vector<RankReport>& reports) {
  const DemoStep step(2, kSteps, "checking the results");
  if (const std::string output = first_difference(reports); !output.empty())
    return Status(StatusCode::kInternal,
                  fmt::format("the ranks hold different bits in {}.", output));
  WEFT_ASSIGN_OR_RETURN(const Verdict verdict, verify(*job.op, source, reports, job.rows, false));
  if (!verdict.ok())
    return Status(StatusCode::kInternal,
                  fmt::format("{} is {:.2f} times its bound from the reference.", verdict.where,
                              verdict.worst));
  step.done(
      fmt::format("all ranks hold the same bits; {} rows, at least one of every rank, agree with "
                  "double\n      precision: the largest error is {:.2f} of its derived bound",
                  verdict.rows, verdict.worst));
  return {};
}

/// What to think of a fused call that took longer than the separate passes. Empty if it did not.
std::string slower_text(const std::vector<double>& fused, double separate, double gemm) {
  const auto [least, most] = std::minmax_element(fused.begin(), fused.end());
  const double typical = median(fused), lost = typical - separate;
  if (lost <= 0) return {};
  return fmt::format(
      "  Here the fused call took {} longer. Of the separate passes the gemm is {:.0f} %, so {} "
      "are\n"
      "  all that fusing can hide; the fused calls of this run took {} to {}, {}.\n"
      "  docs/ops/matmul_collectives.md, \"When fusing pays\", says what decides it.\n",
      seconds_text(lost), 100 * gemm / separate, seconds_text(std::max(0.0, separate - gemm)),
      seconds_text(*least), seconds_text(*most),
      *most - *least > lost ? "which is more than the difference" : "so it is no accident");
}

Status print_speed(const std::vector<RankReport>& reports, isa::Set isa) {
  const DemoStep step(3, kSteps, "measuring what this machine can do at most");
  WEFT_ASSIGN_OR_RETURN(const Machine machine, measure_machine(isa));
  const GemmPeak peak = gemm_peak(machine, DType::kFloat16, isa);
  const int cores = std::min(machine.cores, kDemoRanks * reports[0].threads);
  step.done(fmt::format("{} per core ({}), {} core(s); copy {:.1f} GB/s",
                        flops_text(peak.ops_per_second), peak.name, cores,
                        machine.bandwidth.copy * 1e-9));
  const std::vector<double> calls = call_seconds(reports);
  const double fused = median(calls);
  const double separate = median(call_seconds(reports, &RankReport::separate_calls));
  const double gemm = median(call_seconds(reports, &RankReport::gemm_calls));
  const double flops = total_flops(reports);
  fmt::print("\n  fused call        {}   (median of {})\n", seconds_text(fused), kRepeat);
  fmt::print("                    {} in all, {:.0f} % of this machine's measured peak\n",
             flops_text(flops / fused), 100 * flops / fused / (peak.ops_per_second * cores));
  fmt::print("  separate passes   {}   gemm, all-reduce, add + norm: fused is {:.2f} x as fast\n",
             seconds_text(separate), separate / fused);
  fmt::print("  gemm alone        {}\n{}\n", seconds_text(gemm),
             slower_text(calls, separate, gemm));
  return {};
}

}  // namespace

Status demo_matmul(const DemoArguments& arguments) {
  WEFT_ASSIGN_OR_RETURN(const DemoSetup setup, set_up_demo(arguments, "weft-demo"));
  WEFT_ASSIGN_OR_RETURN(const isa::Set isa, isa::capped(arguments.launch.isa));
  const Case made = demo_case();
  print_job(made);
  const RandomSource source(made);
  Job job;
  job.op = &made.op();
  job.operands = &source;
  job.warmup = kWarmup;
  job.repeat = kRepeat;
  job.trace = job.digests = job.separate = true;
  job.rows = rows_to_check(made, kDemoRanks, kBudget);
  std::vector<RankReport> reports;
  {
    const DemoStep step(1, kSteps,
                        fmt::format("running {} ranks, {} + {} calls, fused and as separate passes",
                                    kDemoRanks, kWarmup, kRepeat));
    WEFT_ASSIGN_OR_RETURN(reports, run_job(setup.launch, job));
    step.done("done");
  }
  WEFT_RETURN_IF_ERROR(check_results(source, job, reports));
  WEFT_RETURN_IF_ERROR(print_speed(reports, isa));
  const DemoStep step(4, kSteps, "drawing the timeline");
  WEFT_RETURN_IF_ERROR(write_trace_files(setup.files, made.op(), setup.launch, reports));
  step.drawn(setup.files);
  fmt::print("\n{}", waits_text(reports));
  return {};
}

}  // namespace weft::tools
