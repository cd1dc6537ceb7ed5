// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_reduce_scatter/contract.h"

#include "ops/row_tensor.h"

namespace weft::ops {
namespace {

using Args = MatmulReduceScatterArgs;

constexpr DequantRow kDequantRows[] = {
    {DType::kFloat16, DType::kUInt64, PerToken::kOptional},  // R3
    {DType::kFloat16, DType::kInt64, PerToken::kOptional},   // R3
    {DType::kFloat16, DType::kFloat32, PerToken::kAlways},   // R4
    {DType::kBFloat16, DType::kFloat32, PerToken::kAlways},  // R5
};

TensorList named_tensors(const Args& a) {
  return tensors_of(operands_of(a)).add("output", a.output);
}

void check_no_weight_quant(Contract& c, const Args& a) {
  const DType x2 = operands_of(a).weight_dtype();
  c.rule(Rule::kDtype, scenario_of(a.x1.dtype(), x2) != Scenario::kWeightQuant,
         "there is no row for x1 {} with x2 {}; use float16 or bfloat16 for both, or int8 for both",
         to_string(a.x1.dtype()), to_string(x2));
}

void check_x1(Contract& c, const Args& a) {
  c.rule(Rule::kRank, a.x1.rank() == 2, "x1 is {} but must be (m, k)", shape_text(a.x1));
  if (!c.ok()) return;
  const bool transposed = a.x1.stride(0) == 1 && a.x1.stride(1) == a.x1.dim(0) &&
                          (a.x1.dim(0) != 1 || a.x1.dim(1) != 1);
  c.rule(Rule::kTransposedX1, !transposed || a.x1.dense(),
         "x1 is a transposed view, strides ({}, {}), but must have its rows; make it contiguous",
         a.x1.stride(0), a.x1.stride(1));
}

void check_output(Contract& c, const Args& a, int ranks) {
  const std::int64_t m = a.x1.dim(0), n = operands_of(a).weight_n();
  c.rule(Rule::kRowsPerRank, m % ranks == 0,
         "m is {} but must be a multiple of the {} ranks; pad x1 with zero rows", m, ranks);
  const std::int64_t dims[] = {m / ranks, n};
  check_rows(c, "output", a.output, a.output.dtype(), dims, "(m / ranks, n)");
  check_rows_apart(c, "output", a.output);
  const ConstTensorRef& scale = a.x1_scale;
  c.rule(Rule::kScaleShape,
         !scale.given() ||
             (scale.dim(0) == m && (scale.rank() == 1 || (scale.rank() == 2 && scale.dim(1) == 1))),
         "x1_scale is {} but must be one value for each row of x1: ({}) or ({}, 1)",
         shape_text(scale), m, m);
}

}  // namespace

MatmulOperands operands_of(const Args& a) {
  MatmulOperands o;
  o.x1 = a.x1;
  o.x2 = a.x2;
  o.packed_x2 = a.packed_x2;
  o.bias = a.bias;
  o.dequant_scale = a.x2_scale;
  o.pertoken_scale = a.x1_scale;
  o.dequant_name = "x2_scale";
  o.pertoken_name = "x1_scale";
  return o;
}

Status check_plan(const Args& a, int rank, int ranks, bool& empty) {
  Contract c(kMatmulReduceScatter, rank);
  empty = false;
  const MatmulOperands operands = operands_of(a);
  c.rule(Rule::kMissing, a.x1.given(), "x1 is missing");
  c.rule(Rule::kMissing, operands.weight_given(), "x2 is missing");
  if (c.ok()) check_no_weight_quant(c, a);
  if (c.ok()) check_operands_given(c, operands);
  c.rule(Rule::kMissing, a.output.given(), "output is missing");
  if (c.ok()) check_operand_dtypes(c, operands, a.output.dtype(), kDequantRows);
  if (c.ok()) check_extents(c, named_tensors(a));
  if (!c.ok()) return c.status();
  empty = is_empty(a.x1) || is_empty(a.x2);
  c.rule(Rule::kEmptyDepth, a.x1.rank() != 2 || a.x1.dim(1) != 0,
         "k is 0 but there is no product without it; x1 is {}", shape_text(a.x1));
  if (empty) return c.status();
  check_x1(c, a);
  if (c.ok()) check_inner_extents(c, operands);
  if (c.ok()) check_operand_shapes(c, operands);
  if (c.ok()) check_output(c, a, ranks);
  return c.status();
}

Status check_run(const Args& planned, const Args& a, int rank) {
  Contract c(kMatmulReduceScatter, rank);
  const TensorList now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  check_operands_as_planned(c, operands_of(planned), operands_of(a));
  check_apart(c, {"output", a.output}, now);
  return c.status();
}

}  // namespace weft::ops
