// SPDX-License-Identifier: Apache-2.0
#include "commands/options.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/isa.h"

namespace weft::tools {

void add_operator(Command& command, std::string& name) {
  std::string names;
  for (const Operator* op : operators())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", op->name());
  command.add("operator", name, "Name of the operator: " + names).type("OP");
}

std::string operators_help() {
  std::string text = "\nOperators (formula, operands, rows of dtypes):\n";
  for (const Operator* op : operators()) {
    text += fmt::format("  {}\n      {}\n      {}\n     ", op->name(), op->traits().formula,
                        op->operands_text());
    for (const DTypeRow& row : op->traits().rows) text += fmt::format(" {}", row.name);
    text += "\n";
  }
  return text;
}

void add_launch_options(Command& command, LaunchArguments& arguments, bool with_ranks) {
  if (with_ranks) {
    command.add("--ranks", arguments.ranks, "Number of ranks").range(1, 4096).show_default();
  }
  command
      .add("--threads", arguments.threads, "Threads per rank; 0: usable cores / ranks, at least 1")
      .range(0, 1024);
  command.add("--isa", arguments.isa,
              "Cap the instruction sets: scalar, avx2, avx512, avx512vnni, avx512bf16, amx");
  command
      .add("--transport", arguments.transport, "Ranks are 'processes' or 'threads' of this machine")
      .one_of({"processes", "threads"})
      .show_default();
  command
      .add("--timeout", arguments.timeout_s,
           "Seconds a call may wait for a peer (default: HCCL_EXEC_TIMEOUT)")
      .positive();
  command
      .add("--connect-timeout", arguments.connect_timeout_s,
           "Seconds to wait for all ranks to meet (default: HCCL_CONNECT_TIMEOUT)")
      .positive();
  command.add("--pin", arguments.pin, "Bind each thread to one core");
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

Status check_trace(const Operator& op, bool wanted) {
  if (!wanted || op.traits().matmul) return {};
  return Status(StatusCode::kInvalidArgument,
                fmt::format("{} sends nothing and records nothing: leave --trace and --timeline "
                            "out.",
                            op.name()));
}

void add_attribute_options(Command& command, CaseArguments& arguments) {
  command.add("--transpose-x2", arguments.transpose_x2, "x2 is stored as (n, k)");
  command
      .add("--format", arguments.format,
           "How x2 lies in memory: 'nd', as it is, or 'nz', packed as FRACTAL_NZ first")
      .one_of({"nd", "nz"})
      .show_default();
  command.add("--antiquant-group-size", arguments.group_size,
              "Rows of k that share a scale; 0: not per group");
  command.add("--epsilon", arguments.epsilon, "Added to the mean square (1e-6)");
}

void add_random_options(Command& command, CaseArguments& arguments) {
  command.add("--row", arguments.row,
              "Combination of dtypes of random operands (the operator's first); an unknown "
              "name lists them");
  command
      .add("--with", arguments.with, "Optional operands to make: bias, x3, comm-quant-scale-1, …")
      .with_commas()
      .type("OPERAND,...");
  command.add("--seed", arguments.seed, "Seed of random operands").show_default();
}

void add_case_options(Command& command, CaseArguments& arguments) {
  command
      .add("shape,--random", arguments.shape,
           "Shape of random operands: MxK:KxN or BxSxK:KxN, K of one rank; of a norm MxN")
      .type("SHAPE");
  add_random_options(command, arguments);
  add_attribute_options(command, arguments);
}

Status check_attributes(const Operator& op, const CaseArguments& arguments) {
  const auto without = [&op](std::string_view option, std::string_view what) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("{} has no {}: leave {} out.", op.name(), what, option));
  };
  const bool weight = op.traits().matmul;
  if (!weight && arguments.transpose_x2) return without("--transpose-x2", "weight");
  if (!weight && arguments.nz_x2()) return without("--format nz", "weight");
  if (!op.has(OperandId::kAntiquantScale) && arguments.group_size != 0)
    return without("--antiquant-group-size", "antiquant_scale");
  if (!op.has(OperandId::kGamma) && arguments.epsilon) return without("--epsilon", "norm");
  if (arguments.group_size < 0)
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("--antiquant-group-size is {}, it must be 0 or more.", arguments.group_size));
  return {};
}

namespace {

Status add_choice(const Operator& op, const std::string& name, Case* made) {
  const std::vector<OperandId> choices = op.row_choices(*made->row);
  const std::optional<OperandId> id = operand_from_name(name);
  if (id && std::ranges::count(choices, *id) > 0) {
    made->with.add(*id);
    return {};
  }
  std::string names;
  for (OperandId choice : choices)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", to_string(choice));
  return Status(StatusCode::kInvalidArgument,
                fmt::format("--with {}: it is not an optional operand of {}, row {}.\nThese are: "
                            "{}.",
                            name, op.name(), made->row->name, names.empty() ? "none" : names));
}

}  // namespace

Result<Case> make_case(const Operator& op, const CaseArguments& arguments,
                       std::optional<DType> io) {
  WEFT_RETURN_IF_ERROR(check_attributes(op, arguments));
  Case made;
  WEFT_ASSIGN_OR_RETURN(made.shape, op.parse_shape(arguments.shape));
  made.row = &op.traits().rows[0];
  if (!arguments.row.empty()) {
    WEFT_ASSIGN_OR_RETURN(made.row, op.find_row(arguments.row));
  } else if (io) {
    const auto of_io = std::ranges::find(op.traits().rows, *io, &DTypeRow::io);
    if (of_io != op.traits().rows.end()) made.row = &*of_io;
  }
  for (const std::string& name : arguments.with) WEFT_RETURN_IF_ERROR(add_choice(op, name, &made));
  made.seed = arguments.seed;
  made.transpose_x2 = arguments.transpose_x2;
  made.epsilon = arguments.epsilon_or_default();
  if (arguments.group_size > 0) {
    made.scale = ScaleShape::kGroup;
    made.group_size = arguments.group_size;
  }
  return made;
}

int report_failure(const Status& status) {
  const bool input = status.code() == StatusCode::kInvalidArgument;
  // What the user can correct speaks for itself; the rest says its kind first.
  fmt::print(stderr, "weft: {}\n", input ? status.message() : status.to_string());
  return input ? kUsageExit : kFailedExit;
}

int exit_code(const Status& status) { return status.ok() ? 0 : report_failure(status); }

}  // namespace weft::tools
