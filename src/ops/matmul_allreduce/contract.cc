// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce/contract.h"

#include <algorithm>
#include <array>

#include "ops/row_tensor.h"

namespace weft::ops {
namespace {

using Args = MatmulAllReduceArgs;

constexpr DequantRow kDequantRows[] = {
    {DType::kFloat16, DType::kUInt64, PerToken::kNever},        // Q1
    {DType::kFloat16, DType::kInt64, PerToken::kNever},         // Q2
    {DType::kBFloat16, DType::kBFloat16, PerToken::kOptional},  // Q3, Q5
    {DType::kFloat16, DType::kFloat32, PerToken::kAlways},      // Q4
};

TensorList named_tensors(const Args& a) {
  return tensors_of(operands_of(a))
      .add("comm_quant_scale_1", a.comm_quant_scale_1)
      .add("comm_quant_scale_2", a.comm_quant_scale_2)
      .add("output", a.output);
}

void check_not_empty(Contract& c, const Args& a) {
  const MatmulOperands o = operands_of(a);
  const std::int64_t m = rows_of(a.x1), k = o.weight_k(), n = o.weight_n();
  c.rule(Rule::kEmpty, m > 0 && n > 0, "m and n are {} and {} but both must be at least 1", m, n);
  const bool quant = scenario_of(a.x1.dtype(), o.weight_dtype()) == Scenario::kQuant;
  c.rule(Rule::kEmptyDepth, !quant || k > 0,
         "k is 0 but must be at least 1 with int8 x1 and x2; x1 is {}", shape_text(a.x1));
}

void check_shapes(Contract& c, const Args& a) {
  const MatmulOperands o = operands_of(a);
  const std::int64_t m = rows_of(a.x1), n = o.weight_n();
  std::array<std::int64_t, kMaxDims> dims{};
  std::ranges::copy(a.x1.dims(), dims.begin());
  const int rank = a.x1.rank();
  dims[static_cast<size_t>(rank - 1)] = n;
  const std::span<const std::int64_t> expected(dims.data(), static_cast<size_t>(rank));
  const DType io = a.output.dtype();
  check_rows(c, "output", a.output, io, expected, "x1 with its last dimension n");
  if (a.x3.given()) check_rows(c, "x3", a.x3, io, expected, "output");
  check_rows_apart(c, "output", a.output);
  c.rule(
      Rule::kScaleShape,
      !a.pertoken_scale.given() || (a.pertoken_scale.rank() == 1 && a.pertoken_scale.dim(0) == m),
      "pertoken_scale is {} but must be one value for each row of x1: ({})",
      shape_text(a.pertoken_scale), m);
}

void check_comm_scales(Contract& c, const Args& a, DType io) {
  const ConstTensorRef &s1 = a.comm_quant_scale_1, &s2 = a.comm_quant_scale_2;
  if (!s1.given() && !s2.given()) return;
  c.rule(Rule::kCommScalePair, s1.given() && s2.given(),
         "comm_quant_scale_{} is missing; give both for int8 communication, or neither",
         s1.given() ? 2 : 1);
  if (!c.ok()) return;
  const MatmulOperands o = operands_of(a);
  c.rule(scenario_of(a.x1.dtype(), o.weight_dtype()) == Scenario::kQuant,
         "comm_quant_scale_1 is given, but int8 communication needs int8 x1 and x2, not {} and {}",
         to_string(a.x1.dtype()), to_string(o.weight_dtype()));
  const NamedTensor scales[] = {{"comm_quant_scale_1", s1}, {"comm_quant_scale_2", s2}};
  for (const auto& [name, scale] : scales) {
    c.rule(Rule::kDtype, scale.dtype() == io, "{} is {} but must be {} like output", name,
           to_string(scale.dtype()), to_string(io));
    c.rule(Rule::kCommScaleShape,
           scale.format() == Format::kStrided && is_per_channel(scale, o.weight_n()),
           "{} is {} but must be ({}) or (1, {})", name, shape_text(scale), o.weight_n(),
           o.weight_n());
  }
  c.rule(Rule::kCommScaleShape, s1.rank() == s2.rank(),
         "comm_quant_scale_1 is {} but comm_quant_scale_2 is {}; give both the same shape",
         shape_text(s1), shape_text(s2));
}

}  // namespace

MatmulOperands operands_of(const Args& a) {
  MatmulOperands o;
  o.x1 = a.x1;
  o.x2 = a.x2;
  o.packed_x2 = a.packed_x2;
  o.bias = a.bias;
  o.dequant_scale = a.dequant_scale;
  o.pertoken_scale = a.pertoken_scale;
  o.antiquant_scale = a.antiquant_scale;
  o.antiquant_offset = a.antiquant_offset;
  o.antiquant_group_size = a.antiquant_group_size;
  o.x3 = a.x3;
  return o;
}

CommScales comm_scales_of(const Args& a) { return {a.comm_quant_scale_1, a.comm_quant_scale_2}; }

Status check_plan(const Args& a, int rank) {
  Contract c(kMatmulAllReduce, rank);
  const MatmulOperands operands = operands_of(a);
  check_operands_given(c, operands);
  c.rule(Rule::kMissing, a.output.given(), "output is missing");
  if (!c.ok()) return c.status();
  check_operand_dtypes(c, operands, a.output.dtype(), kDequantRows);
  if (c.ok()) check_extents(c, named_tensors(a));
  if (c.ok()) check_inner_extents(c, operands);
  if (c.ok()) check_not_empty(c, a);
  if (c.ok()) check_operand_shapes(c, operands);
  if (c.ok()) check_shapes(c, a);
  if (c.ok()) check_comm_scales(c, a, a.output.dtype());
  return c.status();
}

Status check_run(const Args& planned, const Args& a, int rank) {
  Contract c(kMatmulAllReduce, rank);
  const TensorList now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  check_operands_as_planned(c, operands_of(planned), operands_of(a));
  check_apart(c, {"output", a.output}, now, "x3");
  return c.status();
}

}  // namespace weft::ops
