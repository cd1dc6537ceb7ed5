// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts layer over several ranks, in bfloat16: gate, dispatch, the experts, a shared
// expert, combine with residual and RMSNorm. Start the ranks with
//   weft run --ranks 4 -- ./moe_layer
// or with torchrun, mpirun or srun.
#include <algorithm>
#include <cstdio>

#include "moe_model.h"
#include "weft/group.h"
#include "weft/ops/ffn.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/ops/moe_dispatch.h"
#include "weft/ops/moe_gating_topk_softmax.h"

namespace {

constexpr weft::DType kType = weft::DType::kBFloat16;
constexpr moe::Sizes kSizes = {24, 128, 96, 8, 2, true};  // tokens, hidden, inner, experts, top_k

template <typename T>
std::vector<T> room_for(std::int64_t count) {
  return std::vector<T>(static_cast<std::size_t>(count));
}

/// What one rank needs for the layer.
class Layer {
 public:
  Layer(weft::Context& context, weft::Group& group, const moe::Model& model)
      : context_(context),
        group_(group),
        model_(model),
        experts_{.moe_expert_num = kSizes.experts},
        local_experts_(weft::local_expert_num(experts_, group.rank(), group.ranks())),
        first_expert_(group.rank() * kSizes.experts / group.ranks()),
        rows_(group.ranks() * kSizes.tokens * std::min(local_experts_, kSizes.top_k)),
        x_(model.tokens_of(group.rank())),
        residual_(model.residual_of(group.rank())) {}

  weft::Status run() {
    WEFT_RETURN_IF_ERROR(route());
    WEFT_RETURN_IF_ERROR(dispatch());
    WEFT_RETURN_IF_ERROR(run_experts());
    WEFT_RETURN_IF_ERROR(run_shared_expert());
    return combine();
  }
  bool is_right() const { return moe::is_right(model_, group_.rank(), sum_, y_); }
  std::int64_t received() const { return counts_.back(); }

 private:
  /// Softmax and the best top_k. The logits are a matmul that every framework has.
  weft::Status route() {
    for (std::int64_t t = 0; t < kSizes.tokens; ++t)
      std::ranges::copy(moe::logits(model_, x_.data() + t * kSizes.hidden),
                        logits_.begin() + t * kSizes.experts);
    return weft::moe_gating_topk_softmax(
        context_,
        {.x = {logits_.data(), weft::DType::kFloat32, {kSizes.tokens, kSizes.experts}},
         .k = kSizes.top_k,
         .y = {weights_.data(), weft::DType::kFloat32, {kSizes.tokens, kSizes.top_k}},
         .expert_idx = {ids_.data(), weft::DType::kInt32, {kSizes.tokens, kSizes.top_k}},
         .row_idx = {row_ids_.data(), weft::DType::kInt32, {kSizes.tokens, kSizes.top_k}}});
  }

  /// The tokens of all ranks arrive sorted by expert, with the number of each expert's.
  weft::Status dispatch() {
    return weft::moe_dispatch(
        context_, group_,
        {.x = {x_.data(), kType, {kSizes.tokens, kSizes.hidden}},
         .expert_ids = {ids_.data(), weft::DType::kInt32, {kSizes.tokens, kSizes.top_k}},
         .experts = experts_,
         .expand_x = {expand_x_.data(), kType, {rows_, kSizes.hidden}},
         .assist_info_for_combine = {assist_.data(), weft::DType::kInt32, {3 * rows_}},
         .expert_token_nums = {token_nums_.data(), weft::DType::kInt64, {local_experts_}},
         .ep_recv_counts = {
             counts_.data(), weft::DType::kInt32, {group_.ranks() * local_experts_}}});
  }

  /// Takes rows and counts as dispatch left them. Rows behind the last one are nobody's.
  weft::Status run_experts() {
    const std::int64_t columns = kSizes.up_columns();
    return weft::ffn(
        context_,
        {.x = {expand_x_.data(), kType, {rows_, kSizes.hidden}},
         .weight1 = {model_.up_of(first_expert_), kType, {local_experts_, kSizes.hidden, columns}},
         .weight2 = {model_.down_of(first_expert_),
                     kType,
                     {local_experts_, kSizes.inner, kSizes.hidden}},
         .expert_tokens = {token_nums_.data(), weft::DType::kInt64, {local_experts_}},
         .activation = weft::Activation::kSwiglu,
         .y = {expert_out_.data(), kType, {rows_, kSizes.hidden}}});
  }

  /// Every rank has it, for its own tokens.
  weft::Status run_shared_expert() {
    return weft::ffn(
        context_,
        {.x = {x_.data(), kType, {kSizes.tokens, kSizes.hidden}},
         .weight1 = {model_.up_of(kSizes.experts), kType, {kSizes.hidden, kSizes.up_columns()}},
         .weight2 = {model_.down_of(kSizes.experts), kType, {kSizes.inner, kSizes.hidden}},
         .activation = weft::Activation::kSwiglu,
         .y = {shared_.data(), kType, {kSizes.tokens, kSizes.hidden}}});
  }

  weft::Status combine() {
    return weft::moe_combine_add_rmsnorm(
        context_, group_,
        {.combine = {.expand_x = {expert_out_.data(), kType, {rows_, kSizes.hidden}},
                     .expert_ids = {ids_.data(),
                                    weft::DType::kInt32,
                                    {kSizes.tokens, kSizes.top_k}},
                     .assist_info_for_combine = {assist_.data(), weft::DType::kInt32, {3 * rows_}},
                     .ep_send_counts = {counts_.data(),
                                        weft::DType::kInt32,
                                        {group_.ranks() * local_experts_}},
                     .expert_scales = {weights_.data(),
                                       weft::DType::kFloat32,
                                       {kSizes.tokens, kSizes.top_k}},
                     .shared_expert_x = {shared_.data(), kType, {kSizes.tokens, kSizes.hidden}},
                     .experts = experts_,
                     .x = {sum_.data(), kType, {kSizes.tokens, kSizes.hidden}}},
         .residual_x = {residual_.data(), kType, {kSizes.tokens, kSizes.hidden}},
         .gamma = {model_.gamma.data(), kType, {kSizes.hidden}},
         .norm_eps = static_cast<float>(moe::kEpsilon),
         .y = {y_.data(), kType, {kSizes.tokens, kSizes.hidden}},
         .rstd = {rstd_.data(), weft::DType::kFloat32, {kSizes.tokens}}});
  }

  weft::Context& context_;
  weft::Group& group_;
  const moe::Model& model_;
  const weft::MoeExperts experts_;
  const std::int64_t local_experts_, first_expert_;
  const std::int64_t rows_;  // enough for every routing
  const moe::Values x_, residual_;
  std::vector<float> logits_ = room_for<float>(kSizes.tokens * kSizes.experts);
  std::vector<std::int32_t> ids_ = room_for<std::int32_t>(kSizes.tokens * kSizes.top_k);
  std::vector<std::int32_t> row_ids_ = ids_;  // for moe_init_routing; not needed here
  std::vector<float> weights_ = room_for<float>(kSizes.tokens * kSizes.top_k);
  moe::Values expand_x_ = room_for<std::uint16_t>(rows_ * kSizes.hidden);
  moe::Values expert_out_ = room_for<std::uint16_t>(rows_ * kSizes.hidden);
  std::vector<std::int32_t> assist_ = room_for<std::int32_t>(3 * rows_);
  std::vector<std::int64_t> token_nums_ = room_for<std::int64_t>(local_experts_);
  std::vector<std::int32_t> counts_ = room_for<std::int32_t>(group_.ranks() * local_experts_);
  moe::Values shared_ = room_for<std::uint16_t>(kSizes.tokens * kSizes.hidden);
  moe::Values sum_ = shared_, y_ = shared_;
  std::vector<float> rstd_ = room_for<float>(kSizes.tokens);
};

weft::Status run_rank() {
  WEFT_ASSIGN_OR_RETURN(weft::Group group, weft::Group::from_environment());
  WEFT_ASSIGN_OR_RETURN(weft::Context context,
                        weft::Context::create({.local_ranks = group.ranks()}));
  const moe::Model model(kSizes);
  Layer layer(context, group, model);
  WEFT_RETURN_IF_ERROR(layer.run());
  if (!layer.is_right())
    return {weft::StatusCode::kInternal, "a result differs from double precision"};
  // Leaving while others still read this rank's memory would look to them like a crash.
  WEFT_RETURN_IF_ERROR(group.barrier());
  if (group.rank() == 0)
    std::printf("%d ranks, %d experts and a shared one: every token is right; rank 0 had %d rows\n",
                group.ranks(), static_cast<int>(kSizes.experts),
                static_cast<int>(layer.received()));
  return {};
}

}  // namespace

int main() {
  const weft::Status status = run_rank();
  if (!status.ok()) std::puts(status.to_string().c_str());
  return status.ok() ? 0 : 1;
}
