// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/moe_dispatch.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/moe_experts.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;
using Outputs = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// Rows for every routing, if no rank has more tokens than this one.
std::int64_t row_capacity(const at::Tensor& expert_ids, std::int64_t ranks, std::int64_t experts,
                          bool tp) {
  if (expert_ids.dim() != 2) return 0;
  return ranks * expert_ids.size(0) * std::min(experts, expert_ids.size(1)) * (tp ? 2 : 1);
}

Outputs make(const at::Tensor& x, const at::Tensor& expert_ids, std::string_view group,
             std::int64_t moe_expert_num, const Optional& scales, const Optional& x_active_mask,
             bool tokens_are_ends, bool int8_rows, std::int64_t max_rows,
             std::int64_t shared_expert_num, std::int64_t shared_expert_rank_num,
             std::string_view shared_tokens, std::int64_t zero_expert_num,
             std::int64_t copy_expert_num, std::int64_t const_expert_num,
             std::optional<std::string_view> tp_group) {
  const MoeExperts experts =
      moe_experts(moe_expert_num, shared_expert_num, shared_expert_rank_num, shared_tokens,
                  zero_expert_num, copy_expert_num, const_expert_num);
  const auto holder = communicator(group);
  const std::int64_t local = local_experts(experts, *holder);
  const bool tp = tp_group.has_value();
  const std::int64_t rows =
      max_rows > 0 ? max_rows : row_capacity(expert_ids, holder->ranks(), local, tp);
  const auto integers = x.options().dtype(at::kInt);
  const Outputs made = {at::empty({rows, x.dim() > 0 ? x.size(-1) : 0},
                                  int8_rows ? x.options().dtype(at::kChar) : x.options()),
                        at::empty({int8_rows ? rows : 0}, x.options().dtype(at::kFloat)),
                        at::empty({3 * rows}, integers),
                        at::empty({local}, x.options().dtype(at::kLong)),
                        at::empty({holder->ranks() * local * (tp ? 2 : 1)}, integers),
                        at::empty({tp ? 2 : 0}, integers)};
  const auto& [expand_x, dynamic_scales, assist, token_nums, counts, tp_counts] = made;
  const MoeDispatchArgs args{.x = input("x", x),
                             .expert_ids = input("expert_ids", expert_ids),
                             .scales = input("scales", scales),
                             .x_active_mask = input("x_active_mask", x_active_mask),
                             .experts = experts,
                             .tokens_are_ends = tokens_are_ends,
                             .expand_x = output(expand_x),
                             .dynamic_scales = int8_rows ? output(dynamic_scales) : TensorRef(),
                             .assist_info_for_combine = output(assist),
                             .expert_token_nums = output(token_nums),
                             .ep_recv_counts = output(counts),
                             .tp_recv_counts = tp ? output(tp_counts) : TensorRef()};
  run_with_tp(group, tp_group, [&](Context& context, Group& ranks, Group* tp_ranks) {
    return moe_dispatch(context, ranks, args, {.tp_group = tp_ranks});
  });
  return made;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  library.def((std::string("moe_dispatch(Tensor x, Tensor expert_ids, str group, *, int "
                           "moe_expert_num, Tensor? scales=None, Tensor? x_active_mask=None, bool "
                           "tokens_are_ends=False, bool int8_rows=False, int max_rows=0, ") +
               kExpertsSchema +
               ") -> (Tensor expand_x, Tensor dynamic_scales, Tensor assist_info_for_combine, "
               "Tensor expert_token_nums, Tensor ep_recv_counts, Tensor tp_recv_counts)")
                  .c_str(),
              kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) { library.impl("moe_dispatch", &make); }

}  // namespace weft::python
