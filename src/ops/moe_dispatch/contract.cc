// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_dispatch/contract.h"

#include <limits>

#include "ops/moe_routing/contract.h"
#include "ops/row_tensor.h"

namespace weft::ops {
namespace {

using Args = MoeDispatchArgs;

TensorList named_tensors(const Args& a) {
  return TensorList()
      .add("x", a.x)
      .add("expert_ids", a.expert_ids)
      .add("scales", a.scales)
      .add("x_active_mask", a.x_active_mask)
      .add("expand_x", a.expand_x)
      .add("dynamic_scales", a.dynamic_scales)
      .add("assist_info_for_combine", a.assist_info_for_combine)
      .add("expert_token_nums", a.expert_token_nums)
      .add("ep_recv_counts", a.ep_recv_counts)
      .add("tp_recv_counts", a.tp_recv_counts);
}

void check_given(Contract& c, const Args& a, bool tp) {
  c.rule(Rule::kMissing, a.x.given(), "x is missing");
  c.rule(Rule::kMissing, a.expert_ids.given(), "expert_ids is missing");
  c.rule(Rule::kMissing, a.expand_x.given(), "expand_x is missing");
  c.rule(Rule::kMissing, a.expert_token_nums.given(), "expert_token_nums is missing");
  c.rule(Rule::kMissing, a.ep_recv_counts.given(), "ep_recv_counts is missing");
  c.rule(Rule::kMissing, a.dynamic_scales.given() || a.expand_x.dtype() != DType::kInt8,
         "dynamic_scales is missing; an expand_x of int8 needs it");
  c.rule(Rule::kMissing, !tp || a.tp_recv_counts.given(),
         "tp_recv_counts is missing; options.tp_group needs it");
}

void check_dtypes(Contract& c, const Args& a) {
  check_token_dtype(c, "x", a.x);
  const DType rows = a.expand_x.dtype();
  c.rule(Rule::kDtype, rows == a.x.dtype() || rows == DType::kInt8,
         "expand_x is {} but must be {} like x, or int8", to_string(rows), to_string(a.x.dtype()));
  check_dtype(c, "expert_ids", a.expert_ids, DType::kInt32);
  check_dtype(c, "scales", a.scales, DType::kFloat32);
  check_dtype(c, "x_active_mask", a.x_active_mask, DType::kBool);
  check_dtype(c, "dynamic_scales", a.dynamic_scales, DType::kFloat32);
  check_dtype(c, "assist_info_for_combine", a.assist_info_for_combine, DType::kInt32);
  check_dtype(c, "expert_token_nums", a.expert_token_nums, DType::kInt64);
  check_dtype(c, "ep_recv_counts", a.ep_recv_counts, DType::kInt32);
  check_dtype(c, "tp_recv_counts", a.tp_recv_counts, DType::kInt32);
}

void check_all_axes(Contract& c, const Args& a) {
  check_axes(c, "x", a.x, 2, 2);
  check_axes(c, "expert_ids", a.expert_ids, 2, 2);
  check_axes(c, "scales", a.scales, 2, 2);
  check_axes(c, "x_active_mask", a.x_active_mask, 1, 2);
  check_axes(c, "expand_x", a.expand_x, 2, 2);
  check_axes(c, "dynamic_scales", a.dynamic_scales, 1, 1);
  check_axes(c, "assist_info_for_combine", a.assist_info_for_combine, 1, 1);
  check_axes(c, "expert_token_nums", a.expert_token_nums, 1, 1);
  check_axes(c, "ep_recv_counts", a.ep_recv_counts, 1, 1);
  check_axes(c, "tp_recv_counts", a.tp_recv_counts, 1, 1);
}

void check_shapes(Contract& c, const Args& a, int rank, int ranks, bool tp) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const std::int64_t tokens = a.x.dim(0), hidden = a.x.dim(1), k = a.expert_ids.dim(1);
  const std::int64_t capacity = a.expand_x.dim(0);
  const MoeExperts& e = a.experts;
  check_limits(c, "x", a.x, a.expert_ids);
  c.rule(Rule::kLimit, capacity <= kMost, "expand_x is {} but may have at most {} rows",
         shape_text(a.expand_x), kMost);
  check_matrix(c, "expert_ids", a.expert_ids, tokens, k);
  check_token_rows(c, "x", a.x, tokens, hidden);
  c.rule(Rule::kScaleShape, !a.scales.given() || a.expand_x.dtype() == DType::kInt8,
         "scales is given but expand_x is {}; only rows of int8 are scaled, leave it out",
         to_string(a.expand_x.dtype()));
  check_token_rows(c, "scales", a.scales, e.shared_expert_num + e.moe_expert_num, hidden);
  check_mask(c, a.x_active_mask, tokens, k);
  check_token_rows(c, "expand_x", a.expand_x, capacity, hidden);
  check_rows_apart(c, "expand_x", a.expand_x);
  check_dense_pair_rows(c, a.expand_x, tp);
  const std::int64_t local = Placement(e, ranks).local_places(rank);
  check_vector(c, "dynamic_scales", a.dynamic_scales, capacity, false);
  check_vector(c, "assist_info_for_combine", a.assist_info_for_combine, 3 * capacity, false);
  check_vector(c, "expert_token_nums", a.expert_token_nums, local, true);
  check_vector(c, "ep_recv_counts", a.ep_recv_counts, ranks * local * (tp ? 2 : 1), false);
  if (tp) check_vector(c, "tp_recv_counts", a.tp_recv_counts, 2, true);
}

}  // namespace

Status check_plan(const Args& a, int rank, int ranks, bool tp) {
  Contract c(kMoeDispatch, rank);
  check_given(c, a, tp);
  if (c.ok()) check_dtypes(c, a);
  if (c.ok()) check_extents(c, named_tensors(a));
  if (c.ok()) check_all_axes(c, a);
  if (c.ok()) check_experts(c, a.experts, ranks, tp);
  if (c.ok()) check_shapes(c, a, rank, ranks, tp);
  return c.status();
}

Status check_run(const Args& planned, const Args& a, int rank) {
  Contract c(kMoeDispatch, rank);
  const TensorList now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  c.rule(a.tokens_are_ends == planned.tokens_are_ends,
         "tokens_are_ends is {} but {} was planned; plan again", a.tokens_are_ends,
         planned.tokens_are_ends);
  check_experts_as_planned(c, planned.experts, a.experts);
  for (const NamedTensor& output : std::span<const NamedTensor>(now).subspan(4))
    check_apart(c, output, now);
  return c.status();
}

}  // namespace weft::ops
