// SPDX-License-Identifier: Apache-2.0
#include "jobs/moe_operands.h"

#include <algorithm>
#include <cmath>

#include "operators/random.h"

namespace weft::tools {
namespace {

constexpr DType kType = kMoeType;

enum Operand { kX, kResidual, kRouter, kGamma };

MoeValues random_values(int rank, Operand operand, double most, std::int64_t count) {
  MoeValues values(count);
  Random random(2, rank, operand);
  fill_floats(random, kType, -most, most, count, values.data());
  return values;
}

}  // namespace

MoeOperands::MoeOperands(const MoeSizes& s, const Rank& rank)
    : experts{.moe_expert_num = s.experts},
      local_experts(local_expert_num(experts, rank.rank, rank.ranks)),
      rows(rank.ranks * s.tokens * std::min(local_experts, s.top_k)),
      x(random_values(rank.rank, kX, 1, s.tokens * s.hidden)),
      residual(random_values(rank.rank, kResidual, 1, s.tokens * s.hidden)),
      router(random_values(0, kRouter, 2 / std::sqrt(static_cast<double>(s.hidden)),
                           s.hidden * s.experts)),
      gamma(random_values(0, kGamma, 1, s.hidden)),
      up(local_experts * 2 * s.hidden * s.inner),
      down(local_experts * s.inner * s.hidden),
      shared_up(2 * s.hidden * s.inner),
      shared_down(s.inner * s.hidden),
      shared(s.tokens * s.hidden),
      ids(s.tokens * s.top_k),
      row_ids(s.tokens * s.top_k),
      assist(3 * rows),
      counts(rank.ranks * local_experts),
      logits(s.tokens * s.experts),
      scales(s.tokens * s.top_k) {
  for (std::int64_t e = 0; e < local_experts; ++e)
    fill_expert(s, rank.rank * local_experts + e, up.data() + e * 2 * s.hidden * s.inner,
                down.data() + e * s.inner * s.hidden);
  fill_expert(s, s.experts, shared_up.data(), shared_down.data());
}

ops::MatmulOperands MoeArguments::logits() const {
  ops::MatmulOperands operands;
  operands.x1 = {o_.x.data(), kType, {s_.tokens, s_.hidden}};
  operands.x2 = {o_.router.data(), kType, {s_.hidden, s_.experts}};
  return operands;
}

MoeGatingTopkSoftmaxArgs MoeArguments::gate() const {
  return {.x = {o_.logits.data(), DType::kFloat32, {s_.tokens, s_.experts}},
          .k = s_.top_k,
          .y = {o_.scales.data(), DType::kFloat32, {s_.tokens, s_.top_k}},
          .expert_idx = {o_.ids.data(), DType::kInt32, {s_.tokens, s_.top_k}},
          .row_idx = {o_.row_ids.data(), DType::kInt32, {s_.tokens, s_.top_k}}};
}

MoeDispatchArgs MoeArguments::dispatch(const MoeResults& r) const {
  return {.x = {o_.x.data(), kType, {s_.tokens, s_.hidden}},
          .expert_ids = {o_.ids.data(), DType::kInt32, {s_.tokens, s_.top_k}},
          .experts = o_.experts,
          .expand_x = {r.expand_x.data(), kType, {o_.rows, s_.hidden}},
          .assist_info_for_combine = {o_.assist.data(), DType::kInt32, {3 * o_.rows}},
          .expert_token_nums = {r.token_nums.data(), DType::kInt64, {o_.local_experts}},
          .ep_recv_counts = {o_.counts.data(), DType::kInt32, {ranks_ * o_.local_experts}}};
}

FfnArgs MoeArguments::experts(const MoeResults& r) const {
  const std::int64_t local = o_.local_experts;
  return {.x = {r.expand_x.data(), kType, {o_.rows, s_.hidden}},
          .weight1 = {o_.up.data(), kType, {local, s_.hidden, 2 * s_.inner}},
          .weight2 = {o_.down.data(), kType, {local, s_.inner, s_.hidden}},
          .expert_tokens = {r.token_nums.data(), DType::kInt64, {local}},
          .activation = Activation::kSwiglu,
          .y = {r.expert_out.data(), kType, {o_.rows, s_.hidden}}};
}

FfnArgs MoeArguments::shared_expert() const {
  return {.x = {o_.x.data(), kType, {s_.tokens, s_.hidden}},
          .weight1 = {o_.shared_up.data(), kType, {s_.hidden, 2 * s_.inner}},
          .weight2 = {o_.shared_down.data(), kType, {s_.inner, s_.hidden}},
          .activation = Activation::kSwiglu,
          .y = {o_.shared.data(), kType, {s_.tokens, s_.hidden}}};
}

MoeCombineAddRmsNormArgs MoeArguments::combine(const MoeResults& r) const {
  const auto tokens = [&](const MoeValues& values) {
    return TensorRef(values.data(), kType, {s_.tokens, s_.hidden});
  };
  return {
      .combine = {.expand_x = {r.expert_out.data(), kType, {o_.rows, s_.hidden}},
                  .expert_ids = {o_.ids.data(), DType::kInt32, {s_.tokens, s_.top_k}},
                  .assist_info_for_combine = {o_.assist.data(), DType::kInt32, {3 * o_.rows}},
                  .ep_send_counts = {o_.counts.data(), DType::kInt32, {ranks_ * o_.local_experts}},
                  .expert_scales = {o_.scales.data(), DType::kFloat32, {s_.tokens, s_.top_k}},
                  .shared_expert_x = tokens(o_.shared),
                  .experts = o_.experts,
                  .x = tokens(r.sum)},
      .residual_x = tokens(o_.residual),
      .gamma = {o_.gamma.data(), kType, {s_.hidden}},
      .norm_eps = kMoeEpsilon,
      .y = tokens(r.y),
      .rstd = {r.rstd.data(), DType::kFloat32, {s_.tokens}}};
}

}  // namespace weft::tools
