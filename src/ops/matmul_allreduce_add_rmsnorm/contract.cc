// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce_add_rmsnorm/contract.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace weft::ops {
namespace {

using Args = MatmulAllReduceAddRmsNormArgs;

struct Operand {
  std::string_view name;
  ConstTensorRef tensor;
};
std::array<Operand, 10> named_operands(const Args& a) {
  return {{{"x1", a.x1},
           {"x2", a.x2},
           {"bias", a.bias},
           {"dequant_scale", a.dequant_scale},
           {"antiquant_scale", a.antiquant_scale},
           {"antiquant_offset", a.antiquant_offset},
           {"residual", a.residual},
           {"gamma", a.gamma},
           {"y", a.y},
           {"norm_out", a.norm_out}}};
}

void check_given(Contract& c, const Args& a) {
  check_operands_given(c, operands_of(a));
  c.rule(a.residual.given(), "residual is missing");
  c.rule(a.gamma.given(), "gamma is missing");
  c.rule(a.y.given(), "y is missing; for the in-place form pass residual's memory as y");
  c.rule(a.norm_out.given(), "norm_out is missing");
}

void check_inner_extents(Contract& c, const Args& a) {
  const MatmulOperands o = operands_of(a);
  for (const auto& [name, tensor] : named_operands(a)) {
    c.rule(!tensor.given() || tensor.rank() > 0, "{} has no dimensions", name);
    if (std::ranges::any_of(tensor.dims(), [](std::int64_t extent) { return extent < 0; }))
      c.rule(false, "{} is {} but no extent can be negative", name, shape_text(tensor));
  }
  c.rule(o.weight_rank() == 2, "x2 is {} but must be (k, n)", shape_text(a.x2));
  if (!c.ok()) return;
  const std::int64_t k1 = a.x1.dim(a.x1.rank() - 1);
  c.rule(k1 == o.weight_k(), "the last dimension of x1 is {} but x2.dim(0) is {}; both are k", k1,
         o.weight_k());
  const std::int64_t n = a.residual.dim(a.residual.rank() - 1);
  c.rule(n == o.weight_n(), "the last dimension of residual is {} but x2.dim(1) is {}; both are n",
         n, o.weight_n());
}

bool nothing_to_do(Contract& c, const Args& a) {
  const MatmulOperands o = operands_of(a);
  const auto is_empty = [](const ConstTensorRef& t) {
    return std::ranges::any_of(t.dims(), [](std::int64_t extent) { return extent == 0; });
  };
  const bool empty = is_empty(a.x1) || is_empty(a.x2) || is_empty(a.dequant_scale) ||
                     is_empty(a.antiquant_scale) || is_empty(a.residual) || is_empty(a.gamma);
  c.rule(!empty || o.weight_k() != 0, "k is 0 but there is no product without it; x1 is {}",
         shape_text(a.x1));
  return empty;
}

void check_outputs(Contract& c, const Args& a) {
  const MatmulOperands o = operands_of(a);
  const DType io = a.residual.dtype();
  c.rule(a.residual.rank() == 3, "residual is {} but must be (b, s, n), also with a 2-D x1",
         shape_text(a.residual));
  if (!c.ok()) return;
  const std::int64_t rows = rows_of(a.x1), residual_rows = a.residual.dim(0) * a.residual.dim(1);
  c.rule(rows == residual_rows, "x1 has {} rows but residual has {} (b·s); they must be the same",
         rows, residual_rows);
  c.rule(a.gamma.rank() == 1 && a.gamma.dim(0) == o.weight_n(),
         "gamma is {} but must be (n) = ({})", shape_text(a.gamma), o.weight_n());
  c.rule(a.gamma.dtype() == io, "gamma is {} but must be {} like residual",
         to_string(a.gamma.dtype()), to_string(io));
  const std::pair<std::string_view, ConstTensorRef> outputs[] = {{"y", a.y},
                                                                 {"norm_out", a.norm_out}};
  for (const auto& [name, output] : outputs) {
    c.rule(output.dtype() == io, "{} is {} but must be {} like residual", name,
           to_string(output.dtype()), to_string(io));
    c.rule(std::ranges::equal(output.dims(), a.residual.dims()),
           "{} is {} but must be {} like residual", name, shape_text(output),
           shape_text(a.residual));
  }
}

// No two elements of a (b, s, n) tensor with adjacent n share memory. Refuses interleaved batches
// too, which nobody has.
bool rows_are_apart(const ConstTensorRef& t) {
  std::pair<std::int64_t, std::int64_t> axes[] = {{std::abs(t.stride(0)), t.dim(0)},
                                                  {std::abs(t.stride(1)), t.dim(1)}};
  std::ranges::sort(axes);
  std::int64_t span = t.dim(2);
  for (const auto& [stride, extent] : axes) {
    if (extent == 1) continue;
    if (stride < span) return false;
    span += (extent - 1) * stride;
  }
  return true;
}

// Rows of these are read and written as wholes.
void check_row_strides(Contract& c, const Args& a) {
  const std::pair<std::string_view, ConstTensorRef> tensors[] = {
      {"residual", a.residual}, {"y", a.y}, {"norm_out", a.norm_out}};
  for (const auto& [name, t] : tensors)
    c.rule(t.stride(2) == 1 || t.dim(2) == 1,
           "{} has stride {} along n but its rows must be adjacent (1); make it contiguous", name,
           t.stride(2));
  for (const auto& [name, t] : {tensors[1], tensors[2]})
    c.rule(rows_are_apart(t),
           "{} has strides ({}, {}) that put several of its rows at the same place; make it "
           "contiguous",
           name, t.stride(0), t.stride(1));
}

}  // namespace

MatmulOperands operands_of(const Args& a) {
  return {a.x1,
          a.x2,
          a.packed_x2,
          a.bias,
          a.dequant_scale,
          a.antiquant_scale,
          a.antiquant_offset,
          a.antiquant_group_size};
}

Status check_plan(const Args& a, int rank, bool& empty) {
  Contract c(kMatmulAllReduceAddRmsNorm, rank);
  empty = false;
  check_given(c, a);
  if (c.ok()) check_inner_extents(c, a);
  if (c.ok()) empty = nothing_to_do(c, a);
  if (!c.ok() || empty) return c.status();
  const MatmulOperands operands = operands_of(a);
  check_operand_dtypes(c, operands, a.residual.dtype());
  if (c.ok()) check_operand_shapes(c, operands);
  if (c.ok()) check_outputs(c, a);
  c.rule(a.epsilon > 0 && a.epsilon < 1,
         "epsilon is {} but must be between 0 and 1 (both excluded)", a.epsilon);
  if (c.ok()) check_row_strides(c, a);
  return c.status();
}

Status check_run(const Args& planned, const Args& a, int rank) {
  Contract c(kMatmulAllReduceAddRmsNorm, rank);
  const auto now = named_operands(a), then = named_operands(planned);
  for (size_t i = 0; i < now.size(); ++i) {
    // The texts are made only when they are needed: a run that is right allocates nothing.
    if (!same_layout(now[i].tensor, then[i].tensor))
      c.rule(false, "{} is {} but {} was planned; plan again for another layout", now[i].name,
             to_string(now[i].tensor), to_string(then[i].tensor));
    c.rule(!now[i].tensor.given() || now[i].tensor.data() || now[i].tensor.elements() == 0,
           "{} has no data (null pointer)", now[i].name);
  }
  c.rule(a.packed_x2 == planned.packed_x2, "packed_x2 is another weight than planned; plan again");
  c.rule(a.antiquant_group_size == planned.antiquant_group_size && a.epsilon == planned.epsilon,
         "antiquant_group_size {} and epsilon {} differ from the planned {} and {}; plan again",
         a.antiquant_group_size, a.epsilon, planned.antiquant_group_size, planned.epsilon);
  for (const Operand& operand : now) {
    if (operand.name != "norm_out")
      c.rule(!overlap(a.norm_out, operand.tensor),
             "norm_out overlaps {}; give it memory of its own", operand.name);
    if (operand.name != "y" && operand.name != "norm_out")
      c.rule(!overlap(a.y, operand.tensor) ||
                 (operand.name == "residual" && same_view(a.y, a.residual)),
             "y overlaps {}; only exactly residual's memory may be shared with y", operand.name);
  }
  return c.status();
}

}  // namespace weft::ops
