// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_gating_topk_softmax/contract.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

#include "ops/moe_routing/row_input.h"

namespace weft::ops {
namespace {

using Args = MoeGatingTopkSoftmaxArgs;
constexpr std::int64_t kMostIndex = std::numeric_limits<std::int32_t>::max();

std::array<NamedTensor, 5> named_tensors(const Args& a) {
  return {{{"x", a.x},
           {"finished", a.finished},
           {"y", a.y},
           {"expert_idx", a.expert_idx},
           {"row_idx", a.row_idx}}};
}
std::array<NamedTensor, 3> outputs(const Args& a) {
  return {{{"y", a.y}, {"expert_idx", a.expert_idx}, {"row_idx", a.row_idx}}};
}

void check_given(Contract& c, const Args& a) {
  c.rule(Rule::kMissing, a.x.given(), "x is missing");
  for (const auto& [name, tensor] : outputs(a))
    c.rule(Rule::kMissing, tensor.given(), "{} is missing", name);
}

void check_dtypes(Contract& c, const Args& a) {
  const auto must_be = [&c](std::string_view name, const ConstTensorRef& tensor, DType type) {
    c.rule(Rule::kDtype, !tensor.given() || tensor.dtype() == type, "{} is {} but must be {}", name,
           to_string(tensor.dtype()), to_string(type));
  };
  c.rule(Rule::kDtype, is_float(a.x.dtype()), "x is {} but must be float16, bfloat16 or float32",
         to_string(a.x.dtype()));
  c.rule(Rule::kDtype, a.y.dtype() == a.x.dtype(), "y is {} but must be {} like x",
         to_string(a.y.dtype()), to_string(a.x.dtype()));
  must_be("finished", a.finished, DType::kBool);
  must_be("expert_idx", a.expert_idx, DType::kInt32);
  must_be("row_idx", a.row_idx, DType::kInt32);
  for (const auto& [name, tensor] : named_tensors(a))
    c.rule(Rule::kFormat, tensor.format() == Format::kStrided,
           "{} is FRACTAL_NZ but must lie as its strides say", name);
}

void check_shapes(Contract& c, const Args& a) {
  c.rule(Rule::kRank, a.x.rank() >= 2, "x is {} but must have 2 axes or more, tokens and experts",
         shape_text(a.x));
  if (!c.ok()) return;
  const int leading = leading_axes(a);
  const auto tokens = a.x.dims().first(static_cast<std::size_t>(leading));
  c.rule(Rule::kShape, !a.finished.given() || std::ranges::equal(a.finished.dims(), tokens),
         "finished is {} but must be ({}), x without its last axis", shape_text(a.finished),
         fmt::join(tokens, ", "));
  for (const auto& [name, tensor] : outputs(a))
    c.rule(Rule::kShape,
           tensor.rank() == a.x.rank() &&
               std::ranges::equal(tensor.dims().first(tokens.size()), tokens) &&
               tensor.dim(leading) == a.k,
           "{} is {} but must be ({}, {}): k = {} places for every token of x, which is {}", name,
           shape_text(tensor), fmt::join(tokens, ", "), a.k, a.k, shape_text(a.x));
}

void check_limits(Contract& c, const Args& a) {
  const std::int64_t experts = a.x.dim(leading_axes(a));
  c.rule(Rule::kLimit, a.k >= 0 && a.k <= experts,
         "k is {} but must be 0 to {}, the experts that x has", a.k, experts);
  c.rule(Rule::kLimit, experts <= kMostIndex,
         "x has {} experts but at most {} are possible: expert_idx is int32", experts, kMostIndex);
  c.rule(Rule::kLimit, a.row_idx.elements() <= kMostIndex,
         "row_idx is {}, more than {} numbers; make several calls", shape_text(a.row_idx),
         kMostIndex);
}

}  // namespace

Status check_plan(const Args& a) {
  Contract c(kMoeGatingTopkSoftmax);
  check_given(c, a);
  if (c.ok()) check_dtypes(c, a);
  if (c.ok()) check_extents(c, named_tensors(a));
  if (c.ok()) check_addressable(c, named_tensors(a));
  if (c.ok()) check_shapes(c, a);
  if (c.ok())
    for (const NamedTensor& output : outputs(a)) check_output_rows(c, output, leading_axes(a));
  if (c.ok() && c.status().ok()) check_limits(c, a);
  return c.status();
}

Status check_run(const Args& planned, const Args& a) {
  Contract c(kMoeGatingTopkSoftmax);
  const auto now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  c.rule(a.k == planned.k, "k is {} but {} was planned; plan again", a.k, planned.k);
  for (const NamedTensor& output : outputs(a)) check_apart(c, output, now);
  return c.status();
}

}  // namespace weft::ops
