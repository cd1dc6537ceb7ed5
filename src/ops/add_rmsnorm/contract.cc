// SPDX-License-Identifier: Apache-2.0
#include "ops/add_rmsnorm/contract.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace weft::ops {
namespace {

using Args = AddRmsNormArgs;

std::array<NamedTensor, 6> named_tensors(const Args& a) {
  return {
      {{"x1", a.x1}, {"x2", a.x2}, {"gamma", a.gamma}, {"y", a.y}, {"rstd", a.rstd}, {"x", a.x}}};
}
// Those with the shape and dtype of x1.
std::array<NamedTensor, 4> row_tensors(const Args& a) {
  return {{{"x1", a.x1}, {"x2", a.x2}, {"y", a.y}, {"x", a.x}}};
}

void check_given(Contract& c, const Args& a) {
  c.rule(Rule::kMissing, a.x1.given(), "x1 is missing");
  c.rule(Rule::kMissing, a.x2.given(), "x2 is missing");
  c.rule(Rule::kMissing, a.gamma.given(), "gamma is missing");
  c.rule(Rule::kMissing, a.y.given(), "y is missing");
  c.rule(Rule::kMissing, a.x.given(),
         "x is missing; for the in-place form pass x1's or x2's memory as x");
}

void check_dtypes(Contract& c, const Args& a) {
  for (const auto& [name, tensor] : named_tensors(a))
    c.rule(Rule::kFormat, tensor.format() == Format::kStrided,
           "{} is FRACTAL_NZ but must lie as its strides say", name);
  const DType type = a.x1.dtype();
  c.rule(Rule::kDtype,
         type == DType::kFloat16 || type == DType::kBFloat16 || type == DType::kFloat32,
         "x1 is {} but must be float16, bfloat16 or float32", to_string(type));
  for (const auto& [name, tensor] : named_tensors(a))
    c.rule(Rule::kDtype, !tensor.given() || name == "rstd" || tensor.dtype() == type,
           "{} is {} but must be {} like x1", name, to_string(tensor.dtype()), to_string(type));
  c.rule(Rule::kDtype, !a.rstd.given() || a.rstd.dtype() == DType::kFloat32,
         "rstd is {} but must be float32", to_string(a.rstd.dtype()));
}

void check_shapes(Contract& c, const Args& a) {
  const auto gamma = a.gamma.dims(), x1 = a.x1.dims();
  const bool fits = gamma.size() <= x1.size() && std::ranges::equal(gamma, x1.last(gamma.size()));
  c.rule(Rule::kShape, fits, "gamma is {} but must be the last axes of x1, which is {}",
         shape_text(a.gamma), shape_text(a.x1));
  c.rule(Rule::kShape, !is_empty(a.gamma),
         "gamma is {}: an axis that is normalised can't be 0, there is no mean of nothing",
         shape_text(a.gamma));
  for (const auto& [name, tensor] : row_tensors(a))
    c.rule(Rule::kShape, std::ranges::equal(tensor.dims(), x1), "{} is {} but must be {} like x1",
           name, shape_text(tensor), shape_text(a.x1));
  if (!c.ok() || !a.rstd.given()) return;
  std::array<std::int64_t, kMaxDims> want;
  want.fill(1);
  std::ranges::copy(x1.first(static_cast<size_t>(leading_axes(a))), want.begin());
  const std::span<const std::int64_t> dims(want.data(), x1.size());
  c.rule(Rule::kShape, std::ranges::equal(a.rstd.dims(), dims),
         "rstd is {} but must be ({}): x1 with 1 for every axis of gamma", shape_text(a.rstd),
         fmt::join(dims, ", "));
}

bool row_is_adjacent(const ConstTensorRef& t, int leading) {
  std::int64_t stride = 1;
  for (int i = t.rank() - 1; i >= leading; --i) {
    if (t.dim(i) != 1 && t.stride(i) != stride) return false;
    stride *= t.dim(i);
  }
  return true;
}

void check_strides(Contract& c, const Args& a) {
  const int leading = leading_axes(a);
  for (const auto& [name, tensor] : named_tensors(a)) {
    if (can_be_addressed(tensor)) continue;
    c.rule(Rule::kLimit, false, "{} is {} with strides ({}), more than can be addressed", name,
           shape_text(tensor), fmt::join(tensor.strides(), ", "));
    return;
  }
  for (const auto& [name, tensor] : row_tensors(a))
    c.rule(Rule::kStrides, row_is_adjacent(tensor, leading),
           "{} has strides ({}), but its last {} axes, those of gamma, must lie adjacent in "
           "row-major order; make it contiguous",
           name, fmt::join(tensor.strides(), ", "), a.gamma.rank());
  const NamedTensor outputs[] = {{"y", a.y}, {"rstd", a.rstd}, {"x", a.x}};
  for (const auto& [name, tensor] : outputs)
    c.rule(Rule::kStrides, !tensor.given() || elements_are_apart(tensor),
           "{} has strides ({}) that put several of its rows at the same place; make it contiguous",
           name, fmt::join(tensor.strides(), ", "));
}

}  // namespace

Status check_plan(const Args& a) {
  Contract c(kAddRmsNorm);
  check_given(c, a);
  if (c.ok()) check_extents(c, named_tensors(a));
  if (c.ok()) check_dtypes(c, a);
  if (c.ok()) check_shapes(c, a);
  if (c.ok()) check_strides(c, a);
  c.rule(Rule::kEpsilon, a.epsilon > 0 && a.epsilon < 1,
         "epsilon is {} but must be between 0 and 1 (both excluded)", a.epsilon);
  return c.status();
}

Status check_run(const Args& planned, const Args& a) {
  Contract c(kAddRmsNorm);
  const auto now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  c.rule(a.epsilon == planned.epsilon, "epsilon is {} but {} was planned; plan again", a.epsilon,
         planned.epsilon);
  const std::span<const NamedTensor> all = now;
  check_apart(c, {"y", a.y}, all);
  check_apart(c, {"rstd", a.rstd}, all);
  check_apart(c, {"x", a.x}, all.first(1), "x1");
  check_apart(c, {"x", a.x}, all.subspan(1, 1), "x2");
  check_apart(c, {"x", a.x}, all.subspan(2));
  return c.status();
}

}  // namespace weft::ops
