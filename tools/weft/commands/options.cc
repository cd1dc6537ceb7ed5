// SPDX-License-Identifier: Apache-2.0
#include "commands/options.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/isa.h"
#include "jobs/binding.h"

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
    command.add("--verbose", arguments.verbose, "Say on which cpus each rank runs");
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
  command
      .add("--bind", arguments.bind,
           "Bind each rank to its 'socket' or 'numa' node, or to a 'core' share of its own")
      .one_of({"none", "socket", "numa", "core"})
      .show_default();
  command.add("--pin", arguments.pin, "Bind each thread to one core");
}

Bind LaunchArguments::binding() const {
  return bind == "socket" ? Bind::kSocket
         : bind == "numa" ? Bind::kNuma
         : bind == "core" ? Bind::kCore
                          : Bind::kNone;
}

void report_binding(const LaunchArguments& arguments) {
  fmt::print(stderr, "{}", binding_remark(arguments.binding()));
  if (arguments.verbose)
    fmt::print(stderr, "{}", binding_text(cpus_of_ranks(arguments.ranks, arguments.binding())));
}

Result<LaunchOptions> launch_options(const LaunchArguments& arguments) {
  WEFT_RETURN_IF_ERROR(isa::capped(arguments.isa).status());
  LaunchOptions launch;
  launch.ranks = arguments.ranks;
  launch.kind = arguments.transport == "threads" ? RankKind::kThreads : RankKind::kProcesses;
  launch.bind = arguments.binding();
  launch.context.threads = arguments.threads;
  launch.context.isa = arguments.isa;
  launch.context.pin_threads = arguments.pin;
  launch.group.exec_timeout_s = arguments.timeout_s;
  launch.group.connect_timeout_s = arguments.connect_timeout_s;
  return launch;
}

Status check_trace(const Operator& op, bool wanted) {
  if (!wanted || op.traits().collective) return {};
  return Status(StatusCode::kInvalidArgument,
                fmt::format("{} sends nothing and records nothing: leave --trace and --timeline "
                            "out.",
                            op.name()));
}

void add_attribute_options(Command& command, CaseArguments& arguments) {
  command.add("--transpose-x2", arguments.transpose_x2, "x2 is stored as (n, k)");
  command.add("--transpose-weight1", arguments.transpose_weight1,
              "ffn: weight1 is stored as ([experts,] n, k)");
  command.add("--transpose-weight2", arguments.transpose_weight2, "ffn: the same for weight2");
  command
      .add("--format", arguments.format,
           "How x2 lies in memory: 'nd', as it is, or 'nz', packed as FRACTAL_NZ first")
      .one_of({"nd", "nz"})
      .show_default();
  command.add("--antiquant-group-size", arguments.group_size,
              "Rows of k that share a scale; 0: not per group");
  command.add("--epsilon,--norm-eps", arguments.epsilon, "Added to the mean square (1e-6)");
  command
      .add("--activation", arguments.activation,
           "ffn: fastgelu, relu, silu, gelu, geglu, swiglu or reglu (gelu; of a row with a gate "
           "swiglu)")
      .type("NAME");
  command
      .add("--inner-precise", arguments.inner_precise,
           "ffn with float16: 0, the first product stays in fp32, or 1, it is rounded (0)")
      .range(0, 1);
  command.add("--gate-is-left", arguments.gate_is_left,
              "ffn: the activation is applied to the left half, not to the right one");
  command.add("--tokens-are-ends", arguments.tokens_are_ends,
              "ffn: expert_tokens are the ends of the experts' rows, not their numbers");
  add_moe_options(command, arguments.moe);
}

void add_random_options(Command& command, CaseArguments& arguments) {
  command.add("--row", arguments.row,
              "Combination of dtypes of random operands (the operator's first); an unknown "
              "name lists them");
  command
      .add("--with", arguments.with,
           "Optional operands to make: bias, x3, comm-quant-scale-1, x-active-mask, …")
      .with_commas()
      .type("OPERAND,...");
  command.add("--experts", arguments.experts, "ffn: experts, who get equal numbers of rows")
      .range(0, 1 << 16);
  command.add("--skew", arguments.skew,
              "ffn: half of the rows are the first expert's, half of the rest the second's, …");
  command
      .add("--top-k", arguments.moe.top_k,
           "moe: experts of each token (8, or all if they are fewer)")
      .range(0, 1 << 20);
  command.add("--seed", arguments.seed, "Seed of random operands").show_default();
}

void add_case_options(Command& command, CaseArguments& arguments) {
  command
      .add("shape,--random,--shape", arguments.shape,
           "Shape of random operands: MxK:KxN or BxSxK:KxN, K of one rank; of a norm MxN; of ffn "
           "MxK:HIDDENxN; of moe operators BSxH, tokens of one rank")
      .type("SHAPE");
  add_random_options(command, arguments);
  add_attribute_options(command, arguments);
}

namespace {

Status check_ffn_options(const Operator& op, const CaseArguments& arguments) {
  const std::pair<bool, std::string_view> of_ffn[] = {
      {arguments.transpose_weight1, "--transpose-weight1"},
      {arguments.transpose_weight2, "--transpose-weight2"},
      {!arguments.activation.empty(), "--activation"},
      {arguments.inner_precise >= 0, "--inner-precise"},
      {arguments.gate_is_left, "--gate-is-left"},
      {arguments.tokens_are_ends, "--tokens-are-ends"},
      {arguments.experts > 0, "--experts"},
      {arguments.skew, "--skew"}};
  for (const auto& [given, option] : of_ffn)
    if (given && !op.has(OperandId::kWeight1))
      return Status(StatusCode::kInvalidArgument,
                    fmt::format("{} belongs to ffn: leave it out with {}.", option, op.name()));
  if (arguments.skew && arguments.experts == 0)
    return Status(StatusCode::kInvalidArgument,
                  "--skew is about experts: pass --experts, or leave it out.");
  return {};
}

}  // namespace

Status check_attributes(const Operator& op, const CaseArguments& arguments) {
  const auto without = [&op](std::string_view option, std::string_view what) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("{} has no {}: leave {} out.", op.name(), what, option));
  };
  const bool ffn = op.has(OperandId::kWeight1), weight = op.traits().matmul;
  const std::string_view x2 = ffn ? "x2" : "weight";
  if (!weight && arguments.transpose_x2) return without("--transpose-x2", x2);
  if (!weight && arguments.nz_x2()) return without("--format nz", x2);
  WEFT_RETURN_IF_ERROR(check_ffn_options(op, arguments));
  WEFT_RETURN_IF_ERROR(check_moe_options(op, arguments.moe));
  if (!op.has(OperandId::kAntiquantScale) && !ffn && arguments.group_size != 0)
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

OperandSet CaseArguments::transposed() const {
  OperandSet ids;
  if (transpose_x2) ids.add(OperandId::kX2);
  if (transpose_weight1) ids.add(OperandId::kWeight1);
  if (transpose_weight2) ids.add(OperandId::kWeight2);
  return ids;
}

Result<FfnAttributes> ffn_attributes(const CaseArguments& arguments, const DTypeRow* row) {
  FfnAttributes made;
  const bool gate = row && row->gate;
  if (gate) made.activation = Activation::kSwiglu;
  if (!arguments.activation.empty()) {
    const std::optional<Activation> named = activation_from_name(arguments.activation);
    if (!named || (gate && !has_gate(*named)))
      return Status(StatusCode::kInvalidArgument,
                    fmt::format("--activation is '{}', it must be {}geglu, swiglu or reglu{}.",
                                arguments.activation, gate ? "" : "fastgelu, relu, silu, gelu, ",
                                gate ? fmt::format(" in row {}", row->name) : ""));
    made.activation = *named;
  }
  const int inner_precise =
      arguments.inner_precise >= 0 ? arguments.inner_precise : (row && row->fast ? 1 : 0);
  made.inner_precise = static_cast<InnerPrecise>(inner_precise);
  made.tokens_are_ends = arguments.tokens_are_ends;
  made.gate_is_left = arguments.gate_is_left;
  return made;
}

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
  WEFT_ASSIGN_OR_RETURN(made.ffn.attributes, ffn_attributes(arguments, made.row));
  made.ffn.experts = arguments.experts;
  made.ffn.deal = arguments.skew ? Deal::kSkewed : Deal::kEven;
  made.ffn.transposed = arguments.transposed();
  made.moe.attributes = moe_attributes(arguments.moe);
  made.moe.top_k = arguments.moe.top_k;
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
