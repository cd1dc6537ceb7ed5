// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <fmt/format.h>

#include "base/isa.h"

namespace weft::tools {

Status check_operator(const std::string& name) {
  if (name == kOperator) return {};
  return Status(StatusCode::kInvalidArgument,
                fmt::format("unknown operator '{}'.\nKnown operators: {}.", name, kOperator));
}

void add_operator(CLI::App& command, std::string& name) {
  command.add_option("operator", name, "Name of the operator: " + std::string(kOperator))
      ->type_name("OP");
}

void add_launch_options(CLI::App& command, LaunchArguments& arguments, bool with_ranks) {
  if (with_ranks) {
    command.add_option("--ranks", arguments.ranks, "Number of ranks")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
  }
  command
      .add_option("--threads", arguments.threads,
                  "Threads per rank; 0: usable cores / ranks, at least 1")
      ->check(CLI::Range(0, 1024));
  command.add_option("--isa", arguments.isa,
                     "Cap the instruction sets: scalar, avx2, avx512, avx512vnni, avx512bf16, amx");
  command
      .add_option("--transport", arguments.transport,
                  "Ranks are 'processes' or 'threads' of this machine")
      ->check(CLI::IsMember({"processes", "threads"}))
      ->capture_default_str();
  command
      .add_option("--timeout", arguments.timeout_s,
                  "Seconds a call may wait for a peer (default: HCCL_EXEC_TIMEOUT)")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--connect-timeout", arguments.connect_timeout_s,
                  "Seconds to wait for all ranks to meet (default: HCCL_CONNECT_TIMEOUT)")
      ->check(CLI::PositiveNumber);
  command.add_flag("--pin", arguments.pin, "Bind each thread to one core");
}

Result<LaunchOptions> launch_options(const LaunchArguments& arguments) {
  WEFT_RETURN_IF_ERROR(isa::capped(arguments.isa).status());
  LaunchOptions launch;
  launch.ranks = arguments.ranks;
  launch.kind = arguments.transport == "threads" ? RankKind::kThreads : RankKind::kProcesses;
  launch.context.threads = arguments.threads;
  launch.context.isa = arguments.isa;
  launch.context.pin_threads = arguments.pin;
  launch.group.exec_timeout_s = arguments.timeout_s;
  launch.group.connect_timeout_s = arguments.connect_timeout_s;
  return launch;
}

void add_case_options(CLI::App& command, CaseArguments& arguments) {
  command
      .add_option("shape,--random", arguments.shape,
                  "Shape of random operands: MxK:KxN or BxSxK:KxN, K of one rank")
      ->type_name("SHAPE");
  command.add_option("--row", arguments.row, "Combination of dtypes, A1 to A9")
      ->capture_default_str();
  command.add_option("--seed", arguments.seed, "Seed of random operands")->capture_default_str();
  command.add_flag("--transpose-x2", arguments.transpose_x2, "x2 is stored as (n, k)");
  command.add_option("--antiquant-group-size", arguments.group_size,
                     "Rows of k that share a scale; 0: a scale per column");
  command.add_option("--epsilon", arguments.epsilon, "Added to the mean square")
      ->capture_default_str();
}

Result<Case> make_case(const CaseArguments& arguments) {
  Case made;
  WEFT_ASSIGN_OR_RETURN(made.shape, parse_shape(arguments.shape));
  WEFT_ASSIGN_OR_RETURN(made.row, find_dtype_row(arguments.row));
  made.seed = arguments.seed;
  made.transpose_x2 = arguments.transpose_x2;
  made.epsilon = arguments.epsilon;
  if (arguments.group_size < 0)
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("--antiquant-group-size is {}, it must be 0 or more.", arguments.group_size));
  if (arguments.group_size > 0) {
    made.scale = ScaleShape::kGroup;
    made.group_size = arguments.group_size;
  }
  return made;
}

std::optional<DType> io_dtype_from_text(const std::string& text) {
  if (text == "fp16" || text == "float16") return DType::kFloat16;
  if (text == "bf16" || text == "bfloat16") return DType::kBFloat16;
  return std::nullopt;
}

int report_failure(const Status& status) {
  const bool input = status.code() == StatusCode::kInvalidArgument;
  // What the user can correct speaks for itself; the rest says its kind first.
  fmt::print(stderr, "weft: {}\n", input ? status.message() : status.to_string());
  return input ? kUsageExit : kFailedExit;
}

}  // namespace weft::tools
