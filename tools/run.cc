// SPDX-License-Identifier: Apache-2.0
// weft run: the operator on files or random numbers, or any program as N ranks.
#include <fmt/format.h>

#include <memory>

#include "commands.h"
#include "file_io.h"
#include "files.h"
#include "options.h"
#include "output.h"
#include "text.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
Files: '{rank}' in a name stands for the rank; without it all ranks read the same file. float16,
uint16 (the bits of bfloat16, with --dtype bf16), int8, int32, uint64 and int64 (packed scales);
float32 with --round. Ranks may hold different k. Results: DIR/y_{rank}.npy, DIR/norm_out_{rank}.npy.

Examples:
  weft run matmul_allreduce_add_rmsnorm --ranks 8 --x1 in/x1_{rank}.npy --x2 in/x2_{rank}.npy \
       --residual in/residual_{rank}.npy --gamma in/gamma.npy --epsilon 1e-6 --out out
  weft run matmul_allreduce_add_rmsnorm --ranks 2 --dtype bf16 --round --transpose-x2 ...
  weft run matmul_allreduce_add_rmsnorm --ranks 4 --random 48x1024:1024x4096 --seed 7 --repeat 5 \
       --timeline call.svg
  weft run --ranks 4 -- ./my_program its arguments
A program gets WEFT_RANK, WEFT_RANKS and WEFT_UNIQUE_ID, which Group::from_environment() reads.
stdin goes to rank 0 unless it is a terminal.)";

struct Arguments {
  std::string op;
  LaunchArguments launch;
  FileOptions files;
  CaseArguments random;
  TraceFiles trace;
  std::string dtype, out;
  int repeat = 1;
  bool in_place = false, json = false;
  CLI::Option* row_option = nullptr;
};

bool any_file(const FileOptions& files) {
  for (const std::string& pattern : files.pattern)
    if (!pattern.empty()) return true;
  return false;
}

/// Files or random numbers, never both.
Result<std::unique_ptr<OperandSource>> make_source(Arguments& arguments) {
  const auto bad = [](std::string text) {
    return Status(StatusCode::kInvalidArgument, std::move(text));
  };
  if (!arguments.dtype.empty()) {
    arguments.files.dtype = io_dtype_from_text(arguments.dtype);
    if (!arguments.files.dtype)
      return bad(fmt::format("--dtype is '{}', it must be fp16 or bf16.", arguments.dtype));
  }
  arguments.files.transpose_x2 = arguments.random.transpose_x2;
  arguments.files.epsilon = arguments.random.epsilon;
  arguments.files.group_size = arguments.random.group_size;
  if (!arguments.random.shape.empty()) {
    if (any_file(arguments.files)) return bad("--random and operand files exclude each other.");
    if (arguments.row_option->count() == 0 && arguments.files.dtype == DType::kBFloat16)
      arguments.random.row = "A2";
    WEFT_ASSIGN_OR_RETURN(Case made, make_case(arguments.random));
    if (arguments.files.dtype && *arguments.files.dtype != made.row->io)
      return bad(fmt::format("--dtype is {}, row {} computes in {}.", arguments.dtype,
                             made.row->name, weft::to_string(made.row->io)));
    return std::unique_ptr<OperandSource>(new RandomSource(std::move(made)));
  }
  for (OperandId id : {OperandId::kX1, OperandId::kX2, OperandId::kResidual, OperandId::kGamma}) {
    if (arguments.files.pattern[static_cast<std::size_t>(id)].empty())
      return bad(
          fmt::format("--{0} is missing.\nPass --{0} FILE.npy, or --random SHAPE instead of "
                      "files.",
                      to_string(id)));
  }
  auto source = std::make_unique<FileSource>(arguments.files);
  WEFT_RETURN_IF_ERROR(source->check(arguments.launch.ranks));
  return std::unique_ptr<OperandSource>(std::move(source));
}

void print_text(const Arguments& arguments, const LaunchOptions& launch,
                const std::vector<RankReport>& reports) {
  const std::vector<double> seconds = call_seconds(reports);
  const double typical = median(seconds);
  fmt::print("{}, {} rank(s) as {}, {} thread(s) each\n", kOperator, launch.ranks,
             arguments.launch.transport, reports[0].threads);
  fmt::print("  x1 {}, x2 {}, y {}\n", reports[0].x1, reports[0].x2, reports[0].residual);
  fmt::print("  {}{}, {}\n", seconds_text(typical),
             seconds.size() > 1 ? fmt::format(" (median of {})", seconds.size()) : "",
             flops_text(total_flops(reports) / typical));
  if (!arguments.out.empty())
    fmt::print("  wrote {0}/y_{{rank}}.npy and {0}/norm_out_{{rank}}.npy\n", arguments.out);
  for (const std::string& path : {arguments.trace.trace, arguments.trace.timeline})
    if (!path.empty()) fmt::print("  wrote {}\n", path);
  for (std::size_t rank = 0; rank < reports.size(); ++rank)
    if (reports[rank].events_dropped > 0)
      fmt::print("  the trace of rank {} lacks its last {} events\n", rank,
                 reports[rank].events_dropped);
}

Status run_operator(Arguments& arguments) {
  WEFT_RETURN_IF_ERROR(check_operator(arguments.op));
  WEFT_ASSIGN_OR_RETURN(const LaunchOptions launch, launch_options(arguments.launch));
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<OperandSource> source, make_source(arguments));
  WEFT_RETURN_IF_ERROR(check_trace_files(arguments.trace));
  if (!arguments.out.empty()) WEFT_RETURN_IF_ERROR(make_folder(arguments.out));
  Job job;
  job.operands = source.get();
  job.repeat = arguments.repeat;
  job.in_place = arguments.in_place;
  job.trace = arguments.trace.wanted();
  job.out = arguments.out;
  WEFT_ASSIGN_OR_RETURN(const std::vector<RankReport> reports, run_job(launch, job));
  WEFT_RETURN_IF_ERROR(write_trace_files(arguments.trace, launch, reports));
  if (arguments.json) {
    fmt::print("{}\n", job_json(launch, reports).dump(2));
  } else {
    print_text(arguments, launch, reports);
  }
  return {};
}

int run(Arguments& arguments, const std::vector<std::string>& program) {
  Status status;
  if (program.empty()) {
    if (arguments.op.empty()) {
      fmt::print(stderr,
                 "weft: name an operator, or a program behind '--'.\n"
                 "See weft run --help.\n");
      return kUsageExit;
    }
    status = run_operator(arguments);
  } else if (!arguments.op.empty()) {
    status = Status(StatusCode::kInvalidArgument,
                    "name an operator or a program behind '--', not both.");
  } else {
    status = run_program(arguments.launch.ranks, program);
  }
  return status.ok() ? 0 : report_failure(status);
}

void add_operand_options(CLI::App& command, FileOptions& files) {
  constexpr const char* kMeaning[kOperands] = {"Activations (m, k) or (b, s, k)",
                                               "Weights (k, n), or (n, k) with --transpose-x2",
                                               "Added on every rank, (n)",
                                               "int8 x int8: (1), (n) or (1, n)",
                                               "Quantised weights: (1), (n), (1, n), (groups, n)",
                                               "Like the scale",
                                               "Added after the sum, (b, s, n)",
                                               "Weight of the norm, (n)"};
  for (int i = 0; i < kOperands; ++i) {
    std::string name = "--" + std::string(to_string(static_cast<OperandId>(i)));
    std::replace(name.begin(), name.end(), '_', '-');
    command.add_option(name, files.pattern[static_cast<std::size_t>(i)], kMeaning[i])
        ->type_name("FILE.npy")
        ->group("Operands");
  }
}

}  // namespace

void add_run(CLI::App& app, const std::vector<std::string>& program, Action& action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("run", "Run an operator on .npy files or random data, or start a program");
  add_operator(*command, arguments->op);
  add_launch_options(*command, arguments->launch);
  add_operand_options(*command, arguments->files);
  command
      ->add_option("--random", arguments->random.shape,
                   "Random operands instead of files: MxK:KxN or BxSxK:KxN")
      ->type_name("SHAPE");
  command->add_option("--seed", arguments->random.seed, "Seed of random operands");
  arguments->row_option = command->add_option("--row", arguments->random.row,
                                              "Combination of dtypes of random operands, A1 to A9");
  command->add_option("--dtype", arguments->dtype,
                      "The io dtype: fp16 or bf16 (uint16 files then hold bfloat16 bits)");
  command->add_flag("--round", arguments->files.round, "Round float32 files to the io dtype");
  command->add_flag("--transpose-x2", arguments->random.transpose_x2, "The x2 files hold (n, k)");
  command->add_option("--epsilon", arguments->random.epsilon, "Added to the mean square")
      ->capture_default_str();
  command->add_option("--antiquant-group-size", arguments->random.group_size,
                      "Rows of k that share a scale; 0: not per group");
  command->add_flag("--inplace", arguments->in_place, "y overwrites residual's memory");
  command->add_option("--out", arguments->out, "Folder for the results")->type_name("DIR");
  command->add_option("--repeat", arguments->repeat, "Number of calls")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  add_trace_options(*command, arguments->trace);
  command->add_flag("--json", arguments->json, "Print JSON");
  command->footer(kFooter);
  command->callback([arguments, &program, &action] {
    action = [arguments, &program] { return run(*arguments, program); };
  });
}

}  // namespace weft::tools
