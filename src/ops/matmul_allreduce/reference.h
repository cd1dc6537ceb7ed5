// SPDX-License-Identifier: Apache-2.0
// matmul_allreduce in double precision with derived error bounds: for tests and `weft check`.
#pragma once

#include <cstdint>
#include <span>

#include "ops/reference_bounds.h"
#include "weft/ops/matmul_allreduce.h"

namespace weft::ops {

/// Checks row `row` of the output that ranks[rank] points to. Each rank's args carry its operands;
/// x3 must hold the values from before the call. With int8 communication the row is compared bit
/// for bit with an exact emulation (worst is 0 or infinity).
RowError check_row(std::span<const MatmulAllReduceArgs> ranks, int rank, std::int64_t row);

}  // namespace weft::ops
