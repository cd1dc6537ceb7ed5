// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce_add_rmsnorm/contract.h"

#include <algorithm>

#include "ops/row_tensor.h"

namespace weft::ops {
namespace {

using Args = MatmulAllReduceAddRmsNormArgs;

constexpr DequantRow kDequantRows[] = {
    {DType::kFloat16, DType::kUInt64, PerToken::kNever},     // A3
    {DType::kFloat16, DType::kInt64, PerToken::kNever},      // A4
    {DType::kBFloat16, DType::kBFloat16, PerToken::kNever},  // A5
};

TensorList named_tensors(const Args& a) {
  return tensors_of(operands_of(a))
      .add("residual", a.residual)
      .add("gamma", a.gamma)
      .add("y", a.y)
      .add("norm_out", a.norm_out);
}

void check_given(Contract& c, const Args& a) {
  check_operands_given(c, operands_of(a));
  c.rule(Rule::kMissing, a.residual.given(), "residual is missing");
  c.rule(Rule::kMissing, a.gamma.given(), "gamma is missing");
  c.rule(Rule::kMissing, a.y.given(),
         "y is missing; for the in-place form pass residual's memory as y");
  c.rule(Rule::kMissing, a.norm_out.given(), "norm_out is missing");
}

void check_columns(Contract& c, const Args& a) {
  const std::int64_t n = a.residual.dim(a.residual.rank() - 1);
  const std::int64_t columns = a.packed_x2 ? a.packed_x2->n() : a.x2.dim(a.x2.rank() - 1);
  c.rule(Rule::kColumns, n == columns,
         "the last dimension of residual is {} but that of x2 is {}; both are n", n, columns);
}

bool nothing_to_do(Contract& c, const Args& a) {
  const bool empty = is_empty(a.x1) || is_empty(a.x2) || is_empty(a.dequant_scale) ||
                     is_empty(a.antiquant_scale) || is_empty(a.residual) || is_empty(a.gamma);
  c.rule(Rule::kEmptyDepth, !empty || operands_of(a).weight_k() != 0,
         "k is 0 but there is no product without it; x1 is {}", shape_text(a.x1));
  return empty;
}

void check_outputs(Contract& c, const Args& a) {
  const DType io = a.residual.dtype();
  c.rule(Rule::kRank, a.residual.rank() == 3,
         "residual is {} but must be (b, s, n), also with a 2-D x1", shape_text(a.residual));
  if (!c.ok()) return;
  const std::int64_t rows = rows_of(a.x1), n = operands_of(a).weight_n();
  const std::int64_t residual_rows = a.residual.dim(0) * a.residual.dim(1);
  c.rule(Rule::kShape, rows == residual_rows,
         "x1 has {} rows but residual has {} (b·s); they must be the same", rows, residual_rows);
  c.rule(Rule::kFormat, a.gamma.format() == Format::kStrided,
         "gamma is FRACTAL_NZ but only x2 can be; pass it with strides");
  c.rule(Rule::kShape, a.gamma.rank() == 1 && a.gamma.dim(0) == n,
         "gamma is {} but must be (n) = ({})", shape_text(a.gamma), n);
  c.rule(Rule::kDtype, a.gamma.dtype() == io, "gamma is {} but must be {} like residual",
         to_string(a.gamma.dtype()), to_string(io));
  check_rows(c, "residual", a.residual, io, a.residual.dims(), "residual");
  check_rows(c, "y", a.y, io, a.residual.dims(), "residual");
  check_rows(c, "norm_out", a.norm_out, io, a.residual.dims(), "residual");
  check_rows_apart(c, "y", a.y);
  check_rows_apart(c, "norm_out", a.norm_out);
}

}  // namespace

MatmulOperands operands_of(const Args& a) {
  MatmulOperands o;
  o.x1 = a.x1;
  o.x2 = a.x2;
  o.packed_x2 = a.packed_x2;
  o.bias = a.bias;
  o.dequant_scale = a.dequant_scale;
  o.antiquant_scale = a.antiquant_scale;
  o.antiquant_offset = a.antiquant_offset;
  o.antiquant_group_size = a.antiquant_group_size;
  return o;
}

Status check_plan(const Args& a, int rank, bool& empty) {
  Contract c(kMatmulAllReduceAddRmsNorm, rank);
  const MatmulOperands operands = operands_of(a);
  empty = false;
  check_given(c, a);
  if (c.ok()) check_extents(c, named_tensors(a));
  if (c.ok()) check_inner_extents(c, operands);
  if (c.ok()) check_columns(c, a);
  if (c.ok()) empty = nothing_to_do(c, a);
  if (!c.ok() || empty) return c.status();
  check_operand_dtypes(c, operands, a.residual.dtype(), kDequantRows);
  if (c.ok()) check_operand_shapes(c, operands);
  if (c.ok()) check_outputs(c, a);
  c.rule(Rule::kEpsilon, a.epsilon > 0 && a.epsilon < 1,
         "epsilon is {} but must be between 0 and 1 (both excluded)", a.epsilon);
  return c.status();
}

Status check_run(const Args& planned, const Args& a, int rank) {
  Contract c(kMatmulAllReduceAddRmsNorm, rank);
  const TensorList now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  check_operands_as_planned(c, operands_of(planned), operands_of(a));
  c.rule(a.epsilon == planned.epsilon, "epsilon {} differs from the planned {}; plan again",
         a.epsilon, planned.epsilon);
  check_apart(c, {"norm_out", a.norm_out}, now);
  check_apart(c, {"y", a.y}, now, "residual");
  return c.status();
}

}  // namespace weft::ops
