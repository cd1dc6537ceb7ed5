// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_finalize_routing/contract.h"

#include <array>

#include "ops/moe_routing/row_input.h"

namespace weft::ops {
namespace {

using Args = MoeFinalizeRoutingArgs;

std::array<NamedTensor, 8> named_tensors(const Args& a) {
  return {{{"expanded_x", a.expanded_x},
           {"expanded_row_idx", a.expanded_row_idx},
           {"x1", a.x1},
           {"x2", a.x2},
           {"bias", a.bias},
           {"scales", a.scales},
           {"expert_idx", a.expert_idx},
           {"out", a.out}}};
}

void check_given(Contract& c, const Args& a) {
  c.rule(Rule::kMissing, a.expanded_x.given(), "expanded_x is missing");
  c.rule(Rule::kMissing, a.expanded_row_idx.given(), "expanded_row_idx is missing");
  c.rule(Rule::kMissing, a.out.given(), "out is missing");
}

void check_dtypes(Contract& c, const Args& a) {
  const DType type = a.expanded_x.dtype();
  c.rule(Rule::kDtype, is_float(type), "expanded_x is {} but must be float16, bfloat16 or float32",
         to_string(type));
  for (const auto& [name, tensor] : {NamedTensor{"x1", a.x1}, NamedTensor{"x2", a.x2},
                                     NamedTensor{"bias", a.bias}, NamedTensor{"out", a.out}})
    c.rule(Rule::kDtype, !tensor.given() || tensor.dtype() == type,
           "{} is {} but must be {} like expanded_x", name, to_string(tensor.dtype()),
           to_string(type));
  const bool wide = type == DType::kBFloat16;
  c.rule(Rule::kDtype,
         !a.scales.given() || a.scales.dtype() == type ||
             (wide && a.scales.dtype() == DType::kFloat32),
         "scales is {} but must be {} like expanded_x{}", to_string(a.scales.dtype()),
         to_string(type), wide ? ", or float32" : "");
  for (const auto& [name, tensor] : {NamedTensor{"expanded_row_idx", a.expanded_row_idx},
                                     NamedTensor{"expert_idx", a.expert_idx}})
    c.rule(Rule::kDtype, !tensor.given() || tensor.dtype() == DType::kInt32,
           "{} is {} but must be int32", name, to_string(tensor.dtype()));
  for (const auto& [name, tensor] : named_tensors(a))
    c.rule(Rule::kFormat, tensor.format() == Format::kStrided,
           "{} is FRACTAL_NZ but must lie as its strides say", name);
}

void check_ranks(Contract& c, const Args& a) {
  c.rule(Rule::kRank, a.expanded_x.rank() == 2 || a.expanded_x.rank() == 3,
         "expanded_x is {} but must have 2 axes, (rows, H), or 3, (E, C, H)",
         shape_text(a.expanded_x));
  c.rule(Rule::kRank, a.expanded_row_idx.rank() == 1,
         "expanded_row_idx is {} but must have 1 axis, (n·K)", shape_text(a.expanded_row_idx));
  for (const auto& [name, tensor] : named_tensors(a))
    c.rule(
        Rule::kRank,
        !tensor.given() || name == "expanded_x" || name == "expanded_row_idx" || tensor.rank() == 2,
        "{} is {} but must have 2 axes", name, shape_text(tensor));
}

void check_shapes(Contract& c, const Args& a) {
  const std::int64_t n = a.out.dim(0), h = a.out.dim(1);
  const std::int64_t places = a.expanded_row_idx.dim(0);
  const std::int64_t columns = a.expanded_x.dim(a.expanded_x.rank() - 1);
  c.rule(Rule::kShape, columns == h, "out is {} but must have {} columns like expanded_x, {}",
         shape_text(a.out), columns, shape_text(a.expanded_x));
  c.rule(Rule::kShape, n == 0 ? places == 0 : places % n == 0,
         "expanded_row_idx is {} but must have a multiple of {} numbers, the rows of out",
         shape_text(a.expanded_row_idx), n);
  if (!c.ok()) return;
  const auto like = [&](std::string_view name, const ConstTensorRef& tensor, std::int64_t rows,
                        std::int64_t wanted, std::string_view why) {
    c.rule(Rule::kShape, !tensor.given() || (tensor.dim(0) == rows && tensor.dim(1) == wanted),
           "{} is {} but must be ({}, {}), {}", name, shape_text(tensor), rows, wanted, why);
  };
  like("x1", a.x1, n, h, "like out");
  like("x2", a.x2, n, h, "like out");
  if (a.bias.given()) like("bias", a.bias, a.bias.dim(0), h, "a row of H for every expert");
  constexpr std::string_view kPerPlace = "a value for each of expanded_row_idx";
  // Without tokens expanded_row_idx does not say K.
  const auto k_of = [&](const ConstTensorRef& t) {
    return n > 0 ? places / n : t.given() ? t.dim(1) : 0;
  };
  like("scales", a.scales, n, k_of(a.scales), kPerPlace);
  like("expert_idx", a.expert_idx, n, k_of(a.expert_idx), kPerPlace);
  c.rule(Rule::kExperts, !a.bias.given() || a.expert_idx.given(),
         "bias is given but expert_idx is not; pass both, it says whose bias a row gets");
}

}  // namespace

FinalizeShape shape_of(const Args& a) {
  FinalizeShape s{};
  s.n = a.out.dim(0);
  s.h = a.out.dim(1);
  s.k = s.n > 0 ? a.expanded_row_idx.dim(0) / s.n : 0;
  s.rows = a.expanded_x.dim(0);
  if (a.expanded_x.rank() == 3) s.rows *= a.expanded_x.dim(1);
  s.experts = a.bias.given() ? a.bias.dim(0) : 0;
  return s;
}

Status check_plan(const Args& a) {
  Contract c(kMoeFinalizeRouting);
  const auto all = named_tensors(a);
  check_given(c, a);
  if (c.ok()) check_dtypes(c, a);
  if (c.ok()) check_extents(c, all);
  if (c.ok()) check_ranks(c, a);
  if (c.ok()) check_shapes(c, a);
  if (c.ok()) check_addressable(c, all);
  if (c.ok()) check_output_rows(c, {"out", a.out}, 1);
  return c.status();
}

Status check_run(const Args& planned, const Args& a) {
  Contract c(kMoeFinalizeRouting);
  const auto now = named_tensors(a);
  const std::span<const NamedTensor> all = now;
  check_as_planned(c, named_tensors(planned), now);
  c.rule(a.order == planned.order, "order differs from the planned one; plan again");
  const NamedTensor out = {"out", a.out};
  check_apart(c, out, all.first(2));
  check_apart(c, out, all.subspan(2, 1), "x1");
  check_apart(c, out, all.subspan(3, 1), "x2");
  check_apart(c, out, all.subspan(4));
  return c.status();
}

Status check_indices(const FinalizeShape& s, ExpandedRowOrder order,
                     const std::int32_t* expanded_row_idx, const std::int32_t* expert_idx) {
  Contract c(kMoeFinalizeRouting);
  for (std::int64_t f = 0; f < s.n * s.k && c.ok(); ++f)
    c.rule(expanded_row_idx[f] >= -1 && expanded_row_idx[f] < s.rows,
           "expanded_row_idx has {} as its number {} but must have -1 (no row) to {}, rows of "
           "expanded_x",
           expanded_row_idx[f], f, s.rows - 1);
  if (!expert_idx) return c.status();
  for (std::int64_t i = 0; i < s.n; ++i)
    for (std::int64_t j = 0; j < s.k && c.ok(); ++j) {
      if (expanded_row_idx[place_of(s, order, i, j)] < 0) continue;
      const std::int32_t id = expert_idx[i * s.k + j];
      c.rule(id >= 0 && id < s.experts,
             "expert_idx has {} at ({}, {}) but must have 0 to {}, rows of bias", id, i, j,
             s.experts - 1);
    }
  return c.status();
}

}  // namespace weft::ops
