// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine/contract.h"

#include "ops/moe_routing/contract.h"
#include "ops/row_tensor.h"

namespace weft::ops {
namespace {

using Args = MoeCombineArgs;

void check_all_axes(Contract& c, const Args& a) {
  check_axes(c, "expand_x", a.expand_x, 2, 2);
  check_axes(c, "expert_ids", a.expert_ids, 2, 2);
  check_axes(c, "assist_info_for_combine", a.assist_info_for_combine, 1, 1);
  check_axes(c, "ep_send_counts", a.ep_send_counts, 1, 1);
  check_axes(c, "expert_scales", a.expert_scales, 2, 2);
  check_axes(c, "tp_send_counts", a.tp_send_counts, 1, 1);
  check_axes(c, "x_active_mask", a.x_active_mask, 1, 2);
  check_axes(c, "shared_expert_x", a.shared_expert_x, 2, 3);
  check_axes(c, "ori_x", a.ori_x, 2, 2);
  check_axes(c, "const_expert_alpha_1", a.const_expert_alpha_1, 1, 2);
  check_axes(c, "const_expert_alpha_2", a.const_expert_alpha_2, 1, 2);
  check_axes(c, "const_expert_v", a.const_expert_v, 2, 2);
  check_axes(c, "x", a.x, 2, 3);
}

void check_alpha(Contract& c, std::string_view name, const ConstTensorRef& t, std::int64_t experts,
                 std::int64_t hidden) {
  if (!t.given() || !c.ok()) return;
  const bool fits = t.dim(0) == experts && (t.rank() == 1 || t.dim(1) == hidden);
  c.rule(Rule::kShape, fits, "{} is {} but must be ({}) or ({}, {})", name, shape_text(t), experts,
         experts, hidden);
  c.rule(Rule::kStrides, t.dense(), "{} must be dense; make it contiguous", name);
}

void check_special(Contract& c, const Args& a, std::int64_t tokens, std::int64_t hidden) {
  const MoeExperts& e = a.experts;
  check_token_rows(c, "ori_x", a.ori_x, tokens, hidden);
  if (e.const_expert_num == 0) return;
  check_alpha(c, "const_expert_alpha_1", a.const_expert_alpha_1, e.const_expert_num, hidden);
  check_alpha(c, "const_expert_alpha_2", a.const_expert_alpha_2, e.const_expert_num, hidden);
  c.rule(Rule::kShape, a.const_expert_alpha_1.rank() == a.const_expert_alpha_2.rank(),
         "const_expert_alpha_1 is {} but const_expert_alpha_2 is {}; both have a value for each "
         "expert or both a row",
         shape_text(a.const_expert_alpha_1), shape_text(a.const_expert_alpha_2));
  check_token_rows(c, "const_expert_v", a.const_expert_v, e.const_expert_num, hidden);
}

void check_routes(Contract& c, const Args& a, int rank, int ranks, bool tp) {
  const std::int64_t local = Placement(a.experts, ranks).local_places(rank);
  check_vector(c, "assist_info_for_combine", a.assist_info_for_combine, 0, false);
  check_vector(c, "ep_send_counts", a.ep_send_counts, ranks * local * (tp ? 2 : 1), false);
  if (tp) check_vector(c, "tp_send_counts", a.tp_send_counts, 2, true);
  check_dense_pair_rows(c, a.expand_x, tp);
}

}  // namespace

TensorList named_tensors(const Args& a) {
  return TensorList()
      .add("expand_x", a.expand_x)
      .add("expert_ids", a.expert_ids)
      .add("assist_info_for_combine", a.assist_info_for_combine)
      .add("ep_send_counts", a.ep_send_counts)
      .add("expert_scales", a.expert_scales)
      .add("tp_send_counts", a.tp_send_counts)
      .add("x_active_mask", a.x_active_mask)
      .add("shared_expert_x", a.shared_expert_x)
      .add("ori_x", a.ori_x)
      .add("const_expert_alpha_1", a.const_expert_alpha_1)
      .add("const_expert_alpha_2", a.const_expert_alpha_2)
      .add("const_expert_v", a.const_expert_v)
      .add("x", a.x);
}

void check_given(Contract& c, const Args& a, bool tp) {
  c.rule(Rule::kMissing, a.expand_x.given(), "expand_x is missing");
  c.rule(Rule::kMissing, a.expert_ids.given(), "expert_ids is missing");
  c.rule(Rule::kMissing, a.assist_info_for_combine.given(), "assist_info_for_combine is missing");
  c.rule(Rule::kMissing, a.ep_send_counts.given(), "ep_send_counts is missing");
  c.rule(Rule::kMissing, a.expert_scales.given(), "expert_scales is missing");
  c.rule(Rule::kMissing, a.x.given(), "x is missing");
  c.rule(Rule::kShape, !tp || a.tp_send_counts.given(),
         "tp_send_counts is missing; options.tp_group needs it");
}

void check_dtypes(Contract& c, const Args& a) {
  check_token_dtype(c, "expand_x", a.expand_x);
  const DType io = a.expand_x.dtype();
  check_dtype(c, "expert_ids", a.expert_ids, DType::kInt32);
  check_dtype(c, "assist_info_for_combine", a.assist_info_for_combine, DType::kInt32);
  check_dtype(c, "ep_send_counts", a.ep_send_counts, DType::kInt32);
  check_dtype(c, "expert_scales", a.expert_scales, DType::kFloat32);
  check_dtype(c, "tp_send_counts", a.tp_send_counts, DType::kInt32);
  check_dtype(c, "x_active_mask", a.x_active_mask, DType::kBool);
  check_dtype(c, "shared_expert_x", a.shared_expert_x, io);
  check_dtype(c, "ori_x", a.ori_x, io);
  check_dtype(c, "const_expert_alpha_1", a.const_expert_alpha_1, io);
  check_dtype(c, "const_expert_alpha_2", a.const_expert_alpha_2, io);
  check_dtype(c, "const_expert_v", a.const_expert_v, io);
  check_dtype(c, "x", a.x, io);
}

void check_shapes(Contract& c, const Args& a, int rank, int ranks, bool tp) {
  check_extents(c, named_tensors(a));
  if (c.ok()) check_all_axes(c, a);
  if (c.ok()) check_experts(c, a.experts, ranks, tp);
  if (!c.ok()) return;
  const std::int64_t tokens = a.expert_ids.dim(0), k = a.expert_ids.dim(1);
  const std::int64_t rows = a.expand_x.dim(0), hidden = a.expand_x.dim(1);
  const MoeExperts& e = a.experts;
  check_limits(c, "expand_x", a.expand_x, a.expert_ids);
  check_token_rows(c, "expand_x", a.expand_x, rows, hidden);
  check_matrix(c, "expert_scales", a.expert_scales, tokens, k);
  check_mask(c, a.x_active_mask, tokens, k);
  c.rule(Rule::kExperts, !a.shared_expert_x.given() || e.shared_expert_num == 0,
         "shared_expert_x is given, but {} shared experts live on ranks; leave it out",
         e.shared_expert_num);
  c.rule(Rule::kShape, a.ori_x.given() || e.copy_expert_num + e.const_expert_num == 0,
         "ori_x is missing; copy and const experts need it");
  const bool constants =
      a.const_expert_alpha_1.given() && a.const_expert_alpha_2.given() && a.const_expert_v.given();
  c.rule(
      Rule::kShape, constants || e.const_expert_num == 0,
      "const_expert_alpha_1, const_expert_alpha_2 or const_expert_v is missing; {} const experts "
      "need them",
      e.const_expert_num);
  check_token_rows(c, "shared_expert_x", a.shared_expert_x, tokens, hidden);
  check_special(c, a, tokens, hidden);
  check_routes(c, a, rank, ranks, tp);
  c.rule(Rule::kExperts, !(tp && a.int8_communication),
         "int8_communication is set, but rows do not travel as int8 with TP; leave it out");
  check_token_rows(c, "x", a.x, tokens, hidden);
  check_rows_apart(c, "x", a.x);
}

Status check_plan(const Args& a, int rank, int ranks, bool tp) {
  Contract c(kMoeCombine, rank);
  check_given(c, a, tp);
  if (c.ok()) check_dtypes(c, a);
  if (c.ok()) check_shapes(c, a, rank, ranks, tp);
  return c.status();
}

void check_attributes_as_planned(Contract& c, const Args& planned, const Args& a) {
  c.rule(a.int8_communication == planned.int8_communication,
         "int8_communication is {} but {} was planned; plan again", a.int8_communication,
         planned.int8_communication);
  check_experts_as_planned(c, planned.experts, a.experts);
}

Status check_run(const Args& planned, const Args& a, int rank) {
  Contract c(kMoeCombine, rank);
  const TensorList now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  check_attributes_as_planned(c, planned, a);
  check_apart(c, {"x", a.x}, now);
  return c.status();
}

}  // namespace weft::ops
