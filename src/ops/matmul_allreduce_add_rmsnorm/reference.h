// SPDX-License-Identifier: Apache-2.0
// matmul_allreduce_add_rmsnorm in double precision with derived error bounds: for tests, `weft
// check` and the demo. Needs the operands of all ranks in one process.
#pragma once

#include <cstdint>
#include <span>

#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace weft::ops {

/// How far a row of results is from the reference, as a share of the bound: at most 1 is right. A
/// value that is nan or infinite where the reference is not (or the reverse) counts as infinitely
/// far.
struct RowError {
  double y = 0;
  double norm_out = 0;
  double worst() const { return y > norm_out ? y : norm_out; }
};

/// Checks row `row` of the results that ranks[rank] points to. Each rank's args carry its operands
/// and outputs; `residual` must hold the values from before the call (for the in-place form: a
/// copy).
///   M = sum of T-rounded partials, rounded once: bound e_M = Σ bound(partial_r) +
///   W·2^-24·Σ|partial_r| + u_T·|M| y = T(M + residual):                         bound e_M +
///   u_T·|y| norm_out is compared with the definition applied to the y that was produced:
///     3 roundings to T (y·rstd, ·gamma, and rstd's fp32 error) of the exact value
RowError check_row(std::span<const MatmulAllReduceAddRmsNormArgs> ranks, int rank,
                   std::int64_t row);

}  // namespace weft::ops
