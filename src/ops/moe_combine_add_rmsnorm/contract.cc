// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine_add_rmsnorm/contract.h"

#include "ops/moe_combine/contract.h"
#include "ops/moe_routing/contract.h"
#include "ops/row_tensor.h"

namespace weft::ops {
namespace {

using Args = MoeCombineAddRmsNormArgs;

TensorList all_tensors(const Args& a) {
  return named_tensors(a.combine)
      .add("residual_x", a.residual_x)
      .add("gamma", a.gamma)
      .add("y", a.y)
      .add("rstd", a.rstd);
}

}  // namespace

Status check_plan(const Args& a, int rank, int ranks, bool tp) {
  Contract c(kMoeCombineAddRmsNorm, rank);
  check_given(c, a.combine, tp);
  c.rule(Rule::kMissing, a.residual_x.given(), "residual_x is missing");
  c.rule(Rule::kMissing, a.gamma.given(), "gamma is missing");
  c.rule(Rule::kMissing, a.y.given(), "y is missing");
  c.rule(Rule::kMissing, a.rstd.given(), "rstd is missing");
  if (!c.ok()) return c.status();
  const DType io = a.combine.expand_x.dtype();
  check_dtypes(c, a.combine);
  check_dtype(c, "residual_x", a.residual_x, io);
  check_dtype(c, "gamma", a.gamma, io);
  check_dtype(c, "y", a.y, io);
  check_dtype(c, "rstd", a.rstd, DType::kFloat32);
  if (c.ok()) check_extents(c, all_tensors(a));
  if (c.ok()) check_shapes(c, a.combine, rank, ranks, tp);
  if (!c.ok()) return c.status();
  const std::int64_t tokens = a.combine.expert_ids.dim(0), hidden = a.combine.expand_x.dim(1);
  check_axes(c, "residual_x", a.residual_x, 2, 3);
  check_axes(c, "gamma", a.gamma, 1, 1);
  check_axes(c, "y", a.y, 2, 3);
  check_axes(c, "rstd", a.rstd, 1, 3);
  if (!c.ok()) return c.status();
  check_token_rows(c, "residual_x", a.residual_x, tokens, hidden);
  c.rule(Rule::kShape, a.gamma.dim(0) == hidden, "gamma is {} but must be ({})",
         shape_text(a.gamma), hidden);
  check_token_rows(c, "y", a.y, tokens, hidden);
  check_rows_apart(c, "y", a.y);
  check_vector(c, "rstd", a.rstd, tokens, true);
  return c.status();
}

Status check_run(const Args& planned, const Args& a, int rank) {
  Contract c(kMoeCombineAddRmsNorm, rank);
  const TensorList now = all_tensors(a);
  check_as_planned(c, all_tensors(planned), now);
  check_attributes_as_planned(c, planned.combine, a.combine);
  c.rule(a.norm_eps == planned.norm_eps, "norm_eps is {} but {} was planned; plan again",
         a.norm_eps, planned.norm_eps);
  check_apart(c, {"x", a.combine.x}, now, "residual_x");
  check_apart(c, {"y", a.y}, now);
  check_apart(c, {"rstd", a.rstd}, now);
  return c.status();
}

}  // namespace weft::ops
