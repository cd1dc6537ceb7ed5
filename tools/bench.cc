// SPDX-License-Identifier: Apache-2.0
// weft bench: one shape, timed beside the same job as separate passes and beside the machine's
// peak.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "commands.h"
#include "machine.h"
#include "options.h"
#include "output.h"
#include "text.h"
#include "verify.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
The time of a call is from the first rank that starts it to the last that ends it; medians after
one warm-up. Fused calls, separate passes (gemm; all-reduce; add + RMSNorm, on the same kernels)
and the gemm alone take turns. Results are checked against the reference before they are printed.

Examples:
  weft bench matmul_allreduce_add_rmsnorm 4096x1024:1024x8192 --ranks 2
  weft bench matmul_allreduce_add_rmsnorm 4x1024x1024:1024x8192 --ranks 8 --row A2 --json)";

#ifdef NDEBUG
constexpr bool kOptimised = true;
#else
constexpr bool kOptimised = false;
#endif

constexpr double kCheckBudget = 5e7;

struct Arguments {
  std::string op;
  LaunchArguments launch;
  CaseArguments random;
  int repeat = 9;
  TraceFiles trace;
  bool json = false;
};

struct Numbers {
  double fused, separate, gemm;    // seconds, medians
  double fused_least, fused_most;  // seconds
  double peak;                     // of all cores that the ranks can use
  std::string peak_name;
  double bytes;  // of one rank, beside its gemm
  double copy;   // bytes per second of one core
};

nlohmann::ordered_json to_json(const LaunchOptions& launch, const Case& made,
                               const std::vector<RankReport>& reports, const Numbers& numbers) {
  nlohmann::ordered_json all = job_json(launch, reports);
  all["row"] = made.row->name;
  all["gemm_seconds"] = numbers.gemm;
  all["separate_seconds"] = numbers.separate;
  all["speed_up_over_separate"] = numbers.separate / numbers.fused;
  all["peak_name"] = numbers.peak_name;
  all["peak_gflops"] = numbers.peak * 1e-9;
  all["share_of_peak"] = total_flops(reports) / numbers.fused / numbers.peak;
  all["bytes_moved_per_rank"] = numbers.bytes;
  all["copy_bytes_per_second"] = numbers.copy;
  return all;
}

void print_text(const Arguments& arguments, const Case& made,
                const std::vector<RankReport>& reports, const Numbers& numbers) {
  const double flops = total_flops(reports);
  const int ranks = arguments.launch.ranks;
  fmt::print("{} {}, row {}, {} rank(s) as {}, {} thread(s) each\n", kOperator, made.shape.text(),
             made.row->name, ranks, arguments.launch.transport, reports[0].threads);
  Table table({"", "median", "per rank", fmt::format("of peak ({})", numbers.peak_name)});
  const auto add = [&](const char* name, double seconds) {
    table.add({name, seconds_text(seconds), flops_text(flops / seconds / ranks),
               fmt::format("{:.0f} %", 100 * flops / seconds / numbers.peak)});
  };
  add("fused", numbers.fused);
  add("separate passes", numbers.separate);
  add("gemm alone", numbers.gemm);
  fmt::print("{}fused calls took {} to {}; speed-up over separate passes {:.2f}\n", table.text(),
             seconds_text(numbers.fused_least), seconds_text(numbers.fused_most),
             numbers.separate / numbers.fused);
  fmt::print("beside the gemm each rank moves {:.3f} GB: {} at {:.1f} GB/s (copy, one core)\n",
             numbers.bytes * 1e-9, seconds_text(numbers.bytes / numbers.copy), numbers.copy * 1e-9);
}

/// Before a number is believed.
Status check_results(const RandomSource& source, const std::vector<RankReport>& reports,
                     const std::vector<std::int64_t>& rows) {
  WEFT_ASSIGN_OR_RETURN(const Verdict verdict, verify(source, reports, rows, false));
  if (verdict.ok()) return {};
  return Status(StatusCode::kInternal,
                fmt::format("the results are wrong: {} is {:.2f} times its bound from the "
                            "reference. No time is printed.",
                            verdict.where, verdict.worst));
}

Result<Numbers> make_numbers(const std::vector<RankReport>& reports, const Case& made,
                             isa::Set isa) {
  WEFT_ASSIGN_OR_RETURN(const Machine machine, measure_machine(isa));
  const GemmPeak peak = gemm_peak(machine, made.row->x1, isa);
  const int ranks = static_cast<int>(reports.size());
  const int cores = std::min(machine.cores, ranks * reports[0].threads);
  const std::vector<double> fused = call_seconds(reports);
  Numbers numbers;
  numbers.fused = median(fused);
  numbers.separate = median(call_seconds(reports, &RankReport::unfused_calls));
  numbers.gemm = median(call_seconds(reports, &RankReport::gemm_calls));
  numbers.fused_least = *std::min_element(fused.begin(), fused.end());
  numbers.fused_most = *std::max_element(fused.begin(), fused.end());
  numbers.peak = peak.ops_per_second * cores;
  numbers.peak_name = fmt::format("{} x {} core(s)", peak.name, cores);
  numbers.bytes = bytes_moved(static_cast<double>(reports[0].m), static_cast<double>(reports[0].n));
  numbers.copy = machine.bandwidth.copy;
  return numbers;
}

Status bench_operator(Arguments& arguments) {
  WEFT_RETURN_IF_ERROR(check_operator(arguments.op));
  if (!kOptimised)
    return Status(StatusCode::kUnimplemented,
                  "this is a debug build: its times mean nothing.\nUse ./dev build, or "
                  "-DCMAKE_BUILD_TYPE=Release.");
  WEFT_ASSIGN_OR_RETURN(const LaunchOptions launch, launch_options(arguments.launch));
  WEFT_ASSIGN_OR_RETURN(const isa::Set isa, isa::capped(arguments.launch.isa));
  WEFT_ASSIGN_OR_RETURN(const Case made, make_case(arguments.random));
  WEFT_RETURN_IF_ERROR(check_trace_files(arguments.trace));
  const RandomSource source(made);
  Job job;
  job.operands = &source;
  job.warmup = 1;
  job.repeat = arguments.repeat;
  job.unfused = true;
  job.trace = arguments.trace.wanted();
  job.rows = rows_to_check(made.shape, launch.ranks, kCheckBudget);
  WEFT_ASSIGN_OR_RETURN(const std::vector<RankReport> reports, run_job(launch, job));
  WEFT_RETURN_IF_ERROR(check_results(source, reports, job.rows));
  WEFT_RETURN_IF_ERROR(write_trace_files(arguments.trace, launch, reports));
  WEFT_ASSIGN_OR_RETURN(const Numbers numbers, make_numbers(reports, made, isa));
  if (arguments.json) {
    fmt::print("{}\n", to_json(launch, made, reports, numbers).dump(2));
  } else {
    print_text(arguments, made, reports, numbers);
  }
  return {};
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("bench", "Time an operator at one shape");
  add_operator(*command, arguments->op);
  add_case_options(*command, arguments->random);
  add_launch_options(*command, arguments->launch);
  command->add_option("--repeat", arguments->repeat, "Timed calls; at least 7")
      ->check(CLI::Range(7, 1000000))
      ->capture_default_str();
  add_trace_options(*command, arguments->trace);
  command->add_flag("--json", arguments->json, "Print JSON");
  command->footer(kFooter);
  command->callback([arguments, &action] {
    action = [arguments] {
      const Status status = bench_operator(*arguments);
      return status.ok() ? 0 : report_failure(status);
    };
  });
}

}  // namespace weft::tools
