// SPDX-License-Identifier: Apache-2.0
// matmul_allreduce_add_rmsnorm in double precision with derived error bounds: for tests, `weft
// check` and the demo. Needs the operands of all ranks in one process.
#pragma once

#include <cstdint>
#include <span>

#include "ops/reference_bounds.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace weft::ops {

/// Checks row `row` of the results that ranks[rank] points to. Each rank's args carry its operands
/// and outputs; `residual` must hold the values from before the call (for the in-place form: a
/// copy).
///   M is the sum over ranks, within e_M (matmul_collective/reference.h)
///   y = T(M + residual):   bound e_M + u_T·|y|
///   norm_out is compared with the definition applied to the y that was produced:
///     3 roundings to T (y·rstd, ·gamma, and rstd's fp32 error) of the exact value
RowError check_row(std::span<const MatmulAllReduceAddRmsNormArgs> ranks, int rank,
                   std::int64_t row);

}  // namespace weft::ops
