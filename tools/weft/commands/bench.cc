// SPDX-License-Identifier: Apache-2.0
// weft bench: one shape, timed beside the same job as separate passes and beside the machine's
// peak.
#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "commands/commands.h"
#include "commands/options.h"
#include "commands/output.h"
#include "jobs/machine.h"
#include "jobs/verify.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
The time of a call is from the first rank that starts it to the last that ends it; medians after
one warm-up. Where there are separate passes (gemm; all-reduce; add + RMSNorm, on the same kernels),
they, the gemm alone and the fused calls take turns. Results are checked against the reference
before they are printed.

Examples:
  weft bench matmul_allreduce_add_rmsnorm 4096x1024:1024x8192 --ranks 2
  weft bench matmul_allreduce 4x1024x1024:1024x8192 --ranks 8 --row Q4 --with x3 --json
  weft bench add_rmsnorm 4096x8192 --row BF16
  weft bench ffn 1024x4096:11008x4096 --row UBG --transpose-weight1 --transpose-weight2
  weft bench ffn 4096x5120:2560 --experts 16 --skew
  weft bench moe_dispatch --shape 128x7168 --moe-expert-num 64 --top-k 8 --ranks 8)";

#ifdef NDEBUG
constexpr bool kOptimised = true;
#else
constexpr bool kOptimised = false;
#endif

// Without products the reference is cheap; bringing the rows home is not.
constexpr double kCheckBudget = 5e7, kCheckBudgetOfBytes = 5e6;

struct Arguments {
  std::string op;
  LaunchArguments launch;
  CaseArguments random;
  int repeat = 9;
  TraceFiles trace;
  bool json = false;
};

struct Numbers {
  double fused, separate, gemm;    // seconds, medians; the latter two 0 without separate passes
  double fused_least, fused_most;  // seconds
  double work;                     // of all ranks: operations, or bytes without a product
  double peak;                     // work per second of all cores that the ranks can use
  std::string peak_name;
  double bytes;  // of one rank, beside its gemm
  double copy;   // bytes per second of one core
};

Json to_json(const LaunchOptions& launch, const Case& made, const std::vector<RankReport>& reports,
             const Numbers& numbers) {
  Json all = job_json(made.op(), launch, reports);
  all.set("row", made.row->name);
  if (made.op().has(OperandId::kWeight1)) {
    all.set("activation", weft::to_string(made.ffn.attributes.activation));
    all.set("experts", made.ffn.experts);
  }
  if (numbers.separate > 0) {
    all.set("gemm_seconds", numbers.gemm);
    all.set("separate_seconds", numbers.separate);
    all.set("speed_up_over_separate", numbers.separate / numbers.fused);
  }
  all.set("peak_name", numbers.peak_name);
  if (made.op().traits().products) all.set("peak_gflops", numbers.peak * 1e-9);
  all.set("share_of_peak", numbers.work / numbers.fused / numbers.peak);
  all.set("bytes_moved_per_rank", numbers.bytes);
  all.set("copy_bytes_per_second", numbers.copy);
  return all;
}

void print_text(const Arguments& arguments, const Case& made,
                const std::vector<RankReport>& reports, const Numbers& numbers) {
  const int ranks = arguments.launch.ranks;
  fmt::print("{} {}, row {}{}, {} rank(s) as {}, {} thread(s) each\n", made.op().name(),
             made.shape.text(), made.row->name, made.op().settings(made), ranks,
             arguments.launch.transport, reports[0].threads);
  Table table({"", "median", "per rank", fmt::format("of peak ({})", numbers.peak_name)});
  const auto add = [&](const char* name, double seconds) {
    table.add({name, seconds_text(seconds), rate_text(reports, seconds * ranks),
               fmt::format("{:.0f} %", 100 * numbers.work / seconds / numbers.peak)});
  };
  add("fused", numbers.fused);
  if (numbers.separate > 0) {
    add("separate passes", numbers.separate);
    add("gemm alone", numbers.gemm);
  }
  fmt::print("{}fused calls took {} to {}", table.text(), seconds_text(numbers.fused_least),
             seconds_text(numbers.fused_most));
  if (numbers.separate > 0)
    fmt::print("; speed-up over separate passes {:.2f}", numbers.separate / numbers.fused);
  fmt::print("\n{} {:.3f} GB: {} at {:.1f} GB/s (copy, one core)\n",
             made.op().traits().matmul ? "beside the gemm each rank moves" : "each rank moves",
             numbers.bytes * 1e-9, seconds_text(numbers.bytes / numbers.copy), numbers.copy * 1e-9);
  if (arguments.trace.wanted()) fmt::print("{}", waits_text(reports));
}

/// Before a number is believed.
Status check_results(const Operator& op, const RandomSource& source,
                     const std::vector<RankReport>& reports,
                     const std::vector<std::int64_t>& rows) {
  WEFT_ASSIGN_OR_RETURN(const Verdict verdict, verify(op, source, reports, rows, false));
  if (verdict.ok()) return {};
  return Status(StatusCode::kInternal,
                fmt::format("the results are wrong: {} is {:.2f} times its bound from the "
                            "reference. No time is printed.",
                            verdict.where, verdict.worst));
}

Result<Numbers> make_numbers(const std::vector<RankReport>& reports, const Case& made,
                             isa::Set isa) {
  WEFT_ASSIGN_OR_RETURN(const Machine machine, measure_machine(isa));
  const int ranks = static_cast<int>(reports.size());
  const int cores = std::min(machine.cores, ranks * reports[0].threads);
  const std::vector<double> fused = call_seconds(reports);
  Numbers numbers;
  numbers.fused = median(fused);
  numbers.separate = median(call_seconds(reports, &RankReport::separate_calls));
  numbers.gemm = median(call_seconds(reports, &RankReport::gemm_calls));
  numbers.fused_least = *std::min_element(fused.begin(), fused.end());
  numbers.fused_most = *std::max_element(fused.begin(), fused.end());
  numbers.bytes = reports[0].bytes_moved;
  numbers.copy = machine.bandwidth.copy;
  GemmPeak peak{"copy", machine.bandwidth.copy};
  numbers.work = numbers.bytes * ranks;
  if (made.op().traits().products) {
    peak = gemm_peak(machine, made.row->x1, isa);
    numbers.work = total_flops(reports);
  }
  numbers.peak = peak.ops_per_second * cores;
  numbers.peak_name = fmt::format("{} x {} core(s)", peak.name, cores);
  return numbers;
}

Status bench_operator(Arguments& arguments) {
  WEFT_ASSIGN_OR_RETURN(const Operator* const op, find_operator(arguments.op));
  if (!kOptimised)
    return Status(StatusCode::kUnimplemented,
                  "this is a debug build: its times mean nothing.\nUse ./dev build, or "
                  "-DCMAKE_BUILD_TYPE=Release.");
  WEFT_ASSIGN_OR_RETURN(const LaunchOptions launch, launch_options(arguments.launch));
  WEFT_ASSIGN_OR_RETURN(const isa::Set isa, isa::capped(arguments.launch.isa));
  WEFT_ASSIGN_OR_RETURN(const Case made, make_case(*op, arguments.random));
  WEFT_RETURN_IF_ERROR(check_trace(*op, arguments.trace.wanted()));
  WEFT_RETURN_IF_ERROR(check_trace_files(arguments.trace));
  const RandomSource source(made);
  Job job;
  job.op = op;
  job.operands = &source;
  job.warmup = 1;
  job.repeat = arguments.repeat;
  job.nz_x2 = arguments.random.nz_x2();
  job.separate = true;
  job.trace = arguments.trace.wanted();
  job.rows =
      rows_to_check(made, launch.ranks, op->traits().products ? kCheckBudget : kCheckBudgetOfBytes);
  report_binding(arguments.launch);
  WEFT_ASSIGN_OR_RETURN(const std::vector<RankReport> reports, run_job(launch, job));
  WEFT_RETURN_IF_ERROR(check_results(*op, source, reports, job.rows));
  WEFT_RETURN_IF_ERROR(write_trace_files(arguments.trace, *op, launch, reports));
  WEFT_ASSIGN_OR_RETURN(const Numbers numbers, make_numbers(reports, made, isa));
  if (arguments.json) {
    fmt::print("{}\n", to_json(launch, made, reports, numbers).text(2));
  } else {
    print_text(arguments, made, reports, numbers);
  }
  return {};
}

}  // namespace

void add_bench(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  Command& command = line.add_command("bench", "Time an operator at one shape", [arguments] {
    return exit_code(bench_operator(*arguments));
  });
  add_operator(command, arguments->op);
  add_case_options(command, arguments->random);
  add_launch_options(command, arguments->launch);
  command.add("--repeat", arguments->repeat, "Timed calls; at least 7")
      .range(7, 1000000)
      .show_default();
  add_trace_options(command, arguments->trace);
  command.add("--json", arguments->json, "Print JSON");
  command.footer(operators_help() + kFooter);
}

}  // namespace weft::tools
