// SPDX-License-Identifier: Apache-2.0
#include "commands/moe_options.h"

#include <fmt/core.h>

namespace weft::tools {
namespace {

constexpr int kMost = 1 << 20;  // of experts

Status bad(std::string text) { return Status(StatusCode::kInvalidArgument, std::move(text)); }

Status check_mode(std::string_view option, int mode) {
  if (mode == 0 || mode == 2) return {};
  return bad(fmt::format("{} is {}, it must be 0 or 2.", option, mode));
}

/// An option that is not at its default, and whether the operator has it.
struct Given {
  bool given, belongs;
  std::string_view option, whose;
};

}  // namespace

void add_moe_options(Command& command, MoeArguments& arguments) {
  const auto count = [&command](const char* name, int& value, const char* help) {
    command.add(name, value, help).range(0, kMost);
  };
  count("--moe-expert-num", arguments.moe_expert_num,
        "moe: routed experts (of random data 8 for every rank that holds no shared one)");
  count("--shared-expert-num", arguments.shared_expert_num,
        "moe: shared experts (1, which is 0 without --shared-expert-rank-num)");
  count("--shared-expert-rank-num", arguments.shared_expert_rank_num,
        "moe: ranks that hold shared experts, the first ones (0)");
  count("--zero-expert-num", arguments.zero_expert_num, "moe: experts that return nothing (0)");
  count("--copy-expert-num", arguments.copy_expert_num, "moe: experts that return the token (0)");
  count("--const-expert-num", arguments.const_expert_num,
        "moe: experts that return alpha_1 token + alpha_2 v (0)");
  command
      .add("--global-bs", arguments.global_bs,
           "moe: most tokens of a rank times the ranks; 0: all ranks have the same number (0)")
      .range(0, 1 << 30);
  command
      .add("--quant-mode", arguments.quant_mode,
           "moe_dispatch: 0, rows as they are, or 2, int8 with a scale each (0)")
      .type("0|2");
  command
      .add("--expert-token-nums-type", arguments.expert_token_nums_type,
           "moe_dispatch: 0, expert_token_nums are sums, or 1, counts (1)")
      .range(0, 1);
  command
      .add("--comm-quant-mode", arguments.comm_quant_mode,
           "moe_combine…: 0, rows travel as they are, or 2, as int8 (0)")
      .type("0|2");
}

Status check_moe_options(const Operator& op, const MoeArguments& arguments) {
  const bool moe = op.has(OperandId::kExpertIds), dispatch = moe && op.has(OperandId::kX),
             combine = moe && !dispatch;
  const MoeArguments plain;
  const Given all[] = {
      {arguments.moe_expert_num != 0, moe, "--moe-expert-num", "moe operators"},
      {arguments.shared_expert_num != plain.shared_expert_num, moe, "--shared-expert-num",
       "moe operators"},
      {arguments.shared_expert_rank_num != 0, moe, "--shared-expert-rank-num", "moe operators"},
      {arguments.zero_expert_num != 0, moe, "--zero-expert-num", "moe operators"},
      {arguments.copy_expert_num != 0, moe, "--copy-expert-num", "moe operators"},
      {arguments.const_expert_num != 0, moe, "--const-expert-num", "moe operators"},
      {arguments.global_bs != 0, moe, "--global-bs", "moe operators"},
      {arguments.top_k != 0, moe, "--top-k", "moe operators"},
      {arguments.quant_mode != 0, dispatch, "--quant-mode", "moe_dispatch"},
      {arguments.expert_token_nums_type != plain.expert_token_nums_type, dispatch,
       "--expert-token-nums-type", "moe_dispatch"},
      {arguments.comm_quant_mode != 0, combine, "--comm-quant-mode", "moe_combine operators"}};
  for (const Given& one : all)
    if (one.given && !one.belongs)
      return bad(
          fmt::format("{} belongs to {}: leave it out with {}.", one.option, one.whose, op.name()));
  WEFT_RETURN_IF_ERROR(check_mode("--quant-mode", arguments.quant_mode));
  return check_mode("--comm-quant-mode", arguments.comm_quant_mode);
}

MoeAttributes moe_attributes(const MoeArguments& arguments) {
  MoeAttributes made;
  // One shared expert on no rank is none: callers that have none leave both at their defaults.
  const bool none = arguments.shared_expert_rank_num == 0 && arguments.shared_expert_num == 1;
  made.experts.moe_expert_num = arguments.moe_expert_num;
  made.experts.shared_expert_num = none ? 0 : arguments.shared_expert_num;
  made.experts.shared_expert_rank_num = arguments.shared_expert_rank_num;
  made.experts.zero_expert_num = arguments.zero_expert_num;
  made.experts.copy_expert_num = arguments.copy_expert_num;
  made.experts.const_expert_num = arguments.const_expert_num;
  made.global_bs = arguments.global_bs;
  made.quantise = arguments.quant_mode == 2;
  made.tokens_are_ends = arguments.expert_token_nums_type == 0;
  made.int8_communication = arguments.comm_quant_mode == 2;
  return made;
}

}  // namespace weft::tools
