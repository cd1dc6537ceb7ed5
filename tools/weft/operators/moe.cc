// SPDX-License-Identifier: Apache-2.0
#include "operators/moe.h"

#include <fmt/core.h>

#include <algorithm>

namespace weft::tools {
namespace {

std::int64_t extent(const ConstTensorRef& tensor, int axis) {
  return tensor.rank() > axis ? tensor.dim(axis) : 0;
}

}  // namespace

MoeExperts experts_of(const MoeCase& c, int ranks) {
  MoeExperts experts = c.attributes.experts;
  if (experts.moe_expert_num == 0)
    experts.moe_expert_num = 8 * (ranks - experts.shared_expert_rank_num);
  return experts;
}

std::int64_t top_k_of(const MoeCase& c, int ranks) {
  if (c.top_k > 0) return c.top_k;
  const MoeExperts experts = experts_of(c, ranks);
  return std::min<std::int64_t>(8, experts.moe_expert_num + experts.zero_expert_num +
                                       experts.copy_expert_num + experts.const_expert_num);
}

std::int64_t local_experts(const MoeExperts& experts, int rank, int ranks) {
  const std::int64_t shared = experts.shared_expert_rank_num;
  if (shared < 0 || shared >= ranks || experts.moe_expert_num < 1) return 0;
  return local_expert_num(experts, rank, ranks);
}

std::int64_t row_capacity(const MoeAttributes& attributes, std::int64_t tokens, std::int64_t top_k,
                          int rank, int ranks) {
  const MoeExperts& experts = attributes.experts;
  const std::int64_t most = attributes.global_bs > 0 ? attributes.global_bs / ranks : tokens;
  if (rank >= experts.shared_expert_rank_num)
    return most * ranks * std::min(local_experts(experts, rank, ranks), top_k);
  if (experts.shared_expert_num < 1 || experts.shared_expert_rank_num < experts.shared_expert_num)
    return 0;
  // Every so many ranks one sends its tokens to the same place.
  const std::int64_t places = experts.shared_expert_rank_num / experts.shared_expert_num;
  return most * ((ranks + places - 1) / places);
}

std::int64_t row_capacity(const Operands& operands, int ranks) {
  const ConstTensorRef& ids = operands.tensor(OperandId::kExpertIds);
  return row_capacity(operands.moe, extent(operands.tensor(OperandId::kX), 0), extent(ids, 1),
                      operands.rank, ranks);
}

Status check_global_bs(const MoeAttributes& attributes, std::int64_t tokens, int rank, int ranks) {
  const std::int64_t global = attributes.global_bs;
  if (global == 0 || (global >= tokens * ranks && global % ranks == 0)) return {};
  return Status(
      StatusCode::kInvalidArgument,
      fmt::format(
          "--global-bs is {}, but rank {} has {} tokens and there are {} ranks: it must be "
          "0, or {} or more and a multiple of {}.\nPass the most tokens of a rank times the "
          "ranks.",
          global, rank, tokens, ranks, tokens * ranks, ranks));
}

ops::ActiveMask active_mask(const Operands& operands) {
  const ConstTensorRef& ids = operands.tensor(OperandId::kExpertIds);
  return {operands.tensor(OperandId::kXActiveMask), extent(ids, 0), extent(ids, 1)};
}

std::int64_t rows_of_tokens(const Operands& operands) {
  const ConstTensorRef& ids = operands.tensor(OperandId::kExpertIds);
  const auto* values = static_cast<const std::int32_t*>(ids.data());
  const ops::ActiveMask active = active_mask(operands);
  const MoeExperts& experts = operands.moe.experts;
  std::int64_t rows = active_tokens(operands) * experts.shared_expert_num;
  for (std::int64_t i = 0; i < ids.elements(); ++i)
    rows += values[i] >= 0 && values[i] < experts.moe_expert_num &&
            active.entry(i / ids.dim(1), i % ids.dim(1));
  return rows;
}

std::int64_t active_tokens(const Operands& operands) {
  const ops::ActiveMask active = active_mask(operands);
  std::int64_t count = 0;
  for (std::int64_t t = 0; t < operands.tensor(OperandId::kExpertIds).dim(0); ++t)
    count += active.token(t);
  return count;
}

double bytes_of_combine(const Operands& operands, int passes) {
  const ConstTensorRef &counts = operands.tensor(OperandId::kEpSendCounts),
                       &expand_x = operands.tensor(OperandId::kExpandX);
  const std::int64_t h = expand_x.dim(1);
  // int8 with a scale of two bytes for every 8 elements.
  const double row = static_cast<double>(operands.moe.int8_communication ? h + h / 4 : 2 * h);
  const auto* ends = static_cast<const std::int32_t*>(counts.data());
  const double sent = counts.elements() == 0 ? 0 : ends[counts.elements() - 1];
  return row * (sent + static_cast<double>(rows_of_tokens(operands))) +
         static_cast<double>(2 * h * passes * active_tokens(operands));
}

std::string moe_settings(const Case& made) {
  const MoeCase& c = made.moe;
  const MoeExperts& experts = c.attributes.experts;
  std::string text = experts.moe_expert_num == 0
                         ? std::string(", 8 experts per rank")
                         : fmt::format(", {} experts", experts.moe_expert_num);
  if (c.top_k > 0) text += fmt::format(", {} per token", c.top_k);
  if (experts.shared_expert_rank_num > 0)
    text += fmt::format(", {} shared on {} rank(s)", experts.shared_expert_num,
                        experts.shared_expert_rank_num);
  const std::pair<std::int64_t, std::string_view> special[] = {
      {experts.zero_expert_num, "zero"},
      {experts.copy_expert_num, "copy"},
      {experts.const_expert_num, c.wide_alphas ? "wide const" : "const"}};
  for (const auto& [count, name] : special)
    if (count > 0) text += fmt::format(", {} {}", count, name);
  if (c.strays) text += ", ids of no expert";
  if (c.attributes.quantise) text += ", int8 rows";
  if (c.attributes.int8_communication) text += ", int8 communication";
  if (c.attributes.tokens_are_ends) text += ", by ends";
  if (c.mask_axes == 1 && made.with.has(OperandId::kXActiveMask)) text += ", mask of tokens";
  return text;
}

}  // namespace weft::tools
