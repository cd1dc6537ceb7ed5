// SPDX-License-Identifier: Apache-2.0
// ffn in double precision with derived error bounds: for tests and `weft check`.
#pragma once

#include <cstdint>

#include "ops/reference_bounds.h"
#include "weft/ops/ffn.h"

namespace weft::ops {

/// Whose row `row` of x is, by the values of expert_tokens; without experts 0, -1: no one's.
std::int64_t expert_of_row(const FfnArgs& args, std::int64_t row);

/// Checks row `row` of y; rows are counted in row-major order of all axes but the last. Expects
/// weights, not packed ones. A row of no expert has no error.
///
/// What is between the products is an interval that holds every value the operator may come to; a
/// rounding is monotone, so it is done to both ends, which mostly gives one number:
///   h   from exact sums; for float products ± (K1 + 2)·2^-24·(sum of |x·W1| + |b1|); rounded as
///       the operator rounds
///   a   f of both ends ± the error of the activation kernels, with a gate one more fp32 rounding;
///       rounded as the operator rounds
///   y   float products: the middles of a · W2 + b2 ± half the widths · |W2| ±
///       (K2 + 2)·2^-24·(sum of |a·W2| + |b2|), then a rounding to T
///       int8: both ends, with every rounding; right is what lies between
/// Restored weights are rounded exactly as the operator rounds them. With K2 = 0, and wherever the
/// interval is one number in an int8 row, y must be that number. A row in which float16 may but
/// need not overflow between the products is not checked.
RowError check_row(const FfnArgs& args, const FfnOptions& options, std::int64_t row);

}  // namespace weft::ops
