// SPDX-License-Identifier: Apache-2.0
// moe_combine, and the same with residual and RMSNorm.
#include "weft/ops/moe_combine.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/moe_experts.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;
using Name = std::optional<std::string_view>;
using Three = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

// Rows of tokens that are not active are not written; a result that nobody else has seen gets
// zeros.
at::Tensor room(at::IntArrayRef shape, const at::TensorOptions& options, const Optional& mask) {
  return mask ? at::zeros(shape, options) : at::empty(shape, options);
}

// All operands but the result.
MoeCombineArgs operands(const at::Tensor& expand_x, const at::Tensor& expert_ids,
                        const at::Tensor& assist, const at::Tensor& ep_send_counts,
                        const at::Tensor& expert_scales, const Optional& tp_send_counts,
                        const Optional& x_active_mask, const Optional& shared_expert_x,
                        const Optional& ori_x, const Optional& const_expert_alpha_1,
                        const Optional& const_expert_alpha_2, const Optional& const_expert_v,
                        const MoeExperts& experts, bool int8_communication) {
  return {.expand_x = input("expand_x", expand_x),
          .expert_ids = input("expert_ids", expert_ids),
          .assist_info_for_combine = input("assist_info_for_combine", assist),
          .ep_send_counts = input("ep_send_counts", ep_send_counts),
          .expert_scales = input("expert_scales", expert_scales),
          .tp_send_counts = input("tp_send_counts", tp_send_counts),
          .x_active_mask = input("x_active_mask", x_active_mask),
          .shared_expert_x = input("shared_expert_x", shared_expert_x),
          .ori_x = input("ori_x", ori_x),
          .const_expert_alpha_1 = input("const_expert_alpha_1", const_expert_alpha_1),
          .const_expert_alpha_2 = input("const_expert_alpha_2", const_expert_alpha_2),
          .const_expert_v = input("const_expert_v", const_expert_v),
          .experts = experts,
          .int8_communication = int8_communication,
          .x = {}};
}

at::Tensor make(const at::Tensor& expand_x, const at::Tensor& expert_ids, const at::Tensor& assist,
                const at::Tensor& ep_send_counts, const at::Tensor& expert_scales,
                std::string_view group, std::int64_t moe_expert_num, const Optional& tp_send_counts,
                const Optional& x_active_mask, const Optional& shared_expert_x,
                const Optional& ori_x, const Optional& const_expert_alpha_1,
                const Optional& const_expert_alpha_2, const Optional& const_expert_v,
                bool int8_communication, std::int64_t shared_expert_num,
                std::int64_t shared_expert_rank_num, std::string_view shared_tokens,
                std::int64_t zero_expert_num, std::int64_t copy_expert_num,
                std::int64_t const_expert_num, Name tp_group) {
  at::Tensor x = room(
      {expert_ids.dim() > 0 ? expert_ids.size(0) : 0, expand_x.dim() > 0 ? expand_x.size(-1) : 0},
      expand_x.options(), x_active_mask);
  MoeCombineArgs args = operands(
      expand_x, expert_ids, assist, ep_send_counts, expert_scales, tp_send_counts, x_active_mask,
      shared_expert_x, ori_x, const_expert_alpha_1, const_expert_alpha_2, const_expert_v,
      moe_experts(moe_expert_num, shared_expert_num, shared_expert_rank_num, shared_tokens,
                  zero_expert_num, copy_expert_num, const_expert_num),
      int8_communication);
  args.x = output(x);
  run_with_tp(group, tp_group, [&](Context& context, Group& ranks, Group* tp_ranks) {
    return moe_combine(context, ranks, args, {.tp_group = tp_ranks});
  });
  return x;
}

Three make_norm(const at::Tensor& expand_x, const at::Tensor& expert_ids, const at::Tensor& assist,
                const at::Tensor& ep_send_counts, const at::Tensor& expert_scales,
                const at::Tensor& residual_x, const at::Tensor& gamma, std::string_view group,
                std::int64_t moe_expert_num, double norm_eps, const Optional& tp_send_counts,
                const Optional& x_active_mask, const Optional& shared_expert_x,
                const Optional& ori_x, const Optional& const_expert_alpha_1,
                const Optional& const_expert_alpha_2, const Optional& const_expert_v,
                bool int8_communication, std::int64_t shared_expert_num,
                std::int64_t shared_expert_rank_num, std::string_view shared_tokens,
                std::int64_t zero_expert_num, std::int64_t copy_expert_num,
                std::int64_t const_expert_num, Name tp_group) {
  at::Tensor y = room(residual_x.sizes(), expand_x.options(), x_active_mask);
  at::Tensor rstd =
      room(product_shape(residual_x, 1), expand_x.options().dtype(at::kFloat), x_active_mask);
  at::Tensor x = room(residual_x.sizes(), expand_x.options(), x_active_mask);
  MoeCombineAddRmsNormArgs args{
      .combine =
          operands(expand_x, expert_ids, assist, ep_send_counts, expert_scales, tp_send_counts,
                   x_active_mask, shared_expert_x, ori_x, const_expert_alpha_1,
                   const_expert_alpha_2, const_expert_v,
                   moe_experts(moe_expert_num, shared_expert_num, shared_expert_rank_num,
                               shared_tokens, zero_expert_num, copy_expert_num, const_expert_num),
                   int8_communication),
      .residual_x = input("residual_x", residual_x),
      .gamma = input("gamma", gamma),
      .norm_eps = static_cast<float>(norm_eps),
      .y = output(y),
      .rstd = output(rstd)};
  args.combine.x = output(x);
  run_with_tp(group, tp_group, [&](Context& context, Group& ranks, Group* tp_ranks) {
    return moe_combine_add_rmsnorm(context, ranks, args, {.tp_group = tp_ranks});
  });
  return {y, rstd, x};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  const std::string operands =
      "(Tensor expand_x, Tensor expert_ids, Tensor assist_info_for_combine, Tensor ep_send_counts, "
      "Tensor expert_scales, ";
  const std::string options =
      std::string(
          "Tensor? tp_send_counts=None, Tensor? x_active_mask=None, Tensor? "
          "shared_expert_x=None, Tensor? ori_x=None, Tensor? const_expert_alpha_1=None, "
          "Tensor? const_expert_alpha_2=None, Tensor? const_expert_v=None, bool "
          "int8_communication=False, ") +
      kExpertsSchema;
  library.def(
      ("moe_combine" + operands + "str group, *, int moe_expert_num, " + options + ") -> Tensor")
          .c_str(),
      kTags);
  library.def(("moe_combine_add_rmsnorm" + operands +
               "Tensor residual_x, Tensor gamma, str group, *, int moe_expert_num, float "
               "norm_eps=1e-06, " +
               options + ") -> (Tensor y, Tensor rstd, Tensor x)")
                  .c_str(),
              kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("moe_combine", &make);
  library.impl("moe_combine_add_rmsnorm", &make_norm);
}

}  // namespace weft::python
