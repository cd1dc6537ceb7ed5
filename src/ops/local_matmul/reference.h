// SPDX-License-Identifier: Apache-2.0
// The local product in double precision, one row at a time: slow and obvious.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/local_matmul/operands.h"
#include "weft/dtype.h"

namespace weft::ops {

/// A row of exact partial sums and how far T(dequant(x1 · x2 + bias)) + x3 may be from them.
struct PartialRow {
  std::vector<double> value, bound;
};

/// Row `row` of dequant(x1 · x2 + bias) + x3. Restored weights are rounded as the operator rounds
/// them (their rounding is part of the definition); all else is exact. The bound of an element is
///   u_T·|value| + e + subnormal slack, with e = (k + 2)·2^-24·(sum of |x1·x2| + |bias|)   for
///   float products,
///                                           e = 4·2^-24·|value|                           for int8
///                                           (exact sum, then two scales),
/// and with x3 another rounding of the sum. Expects x2, not packed_x2.
PartialRow reference_partial_row(const MatmulOperands& operands, DType io, std::int64_t row);

/// The same for int8 x1 and x2, bit for bit what the operator computes: every rounding is done.
std::vector<float> exact_quant_row(const MatmulOperands& operands, DType io, std::int64_t row);

}  // namespace weft::ops
