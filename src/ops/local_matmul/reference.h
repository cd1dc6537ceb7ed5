// SPDX-License-Identifier: Apache-2.0
// The local product in double precision, one row at a time: slow and obvious.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/local_matmul/operands.h"
#include "weft/dtype.h"

namespace weft::ops {

/// One element of a tensor of any dtype, by its element index; packed scales give their fp32 value.
double element_value(const ConstTensorRef& tensor, std::int64_t index);

/// Distance that rounding to T can move a value near zero: half a subnormal step.
double subnormal_slack(DType type);
/// Largest finite value of T.
double largest_finite(DType type);

/// A row of exact partial sums and how far T(dequant(x1 · x2 + bias)) may be from them.
struct PartialRow {
  std::vector<double> value, bound;
};

/// Row `row` of dequant(x1 · x2 + bias). Restored weights are rounded as the operator rounds them
/// (their rounding is part of the definition); all else is exact. The bound of an element is
///   u_T·|value| + e + subnormal slack, with e = (k + 2)·2^-24·(sum of |x1·x2| + |bias|)   for
///   float products,
///                                           e = 3·2^-24·|value|                           for int8
///                                           (exact sum, then scale).
/// Expects x2, not packed_x2.
PartialRow reference_partial_row(const MatmulOperands& operands, DType io, std::int64_t row);

}  // namespace weft::ops
