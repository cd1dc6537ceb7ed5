// SPDX-License-Identifier: Apache-2.0
// matmul_reduce_scatter in double precision with derived error bounds: for tests and `weft check`.
#pragma once

#include <cstdint>
#include <span>

#include "ops/reference_bounds.h"
#include "weft/ops/matmul_reduce_scatter.h"

namespace weft::ops {

/// Checks row `row` of the output that ranks[rank] points to: a row of that rank's part. Each
/// rank's args carry its operands.
RowError check_row(std::span<const MatmulReduceScatterArgs> ranks, int rank, std::int64_t row);

}  // namespace weft::ops
