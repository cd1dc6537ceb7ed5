// SPDX-License-Identifier: Apache-2.0
// moe_gating_topk_softmax in double precision with derived error bounds: for tests and `weft
// check`.
#pragma once

#include <cstdint>

#include "ops/reference_bounds.h"
#include "weft/ops/moe_gating_topk_softmax.h"

namespace weft::ops {

/// Checks row `row` of the results, counted in row-major order of the axes of tokens. With u =
/// 2^-24 the relative error of p[j] is the sum of
///   u·|x[j] - max| + 2 u                            argument and exp
///   the mean of those weighted by p, (n/32 + 5)·u   the sum
///   u                                               the quotient
/// and then y is rounded to T. The experts are distinct, their p fall within these errors, and no
/// other p is larger by more than them; equal ones are in the order of their indices. Finished
/// tokens have E. row_idx is exact.
RowError check_row(const MoeGatingTopkSoftmaxArgs& args, std::int64_t row);

}  // namespace weft::ops
