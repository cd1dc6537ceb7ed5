// SPDX-License-Identifier: Apache-2.0
// moe_combine_add_rmsnorm one token at a time, straight from its definition: for tests and `weft
// check`. Needs the operands of all ranks in one process.
#pragma once

#include <cstdint>
#include <span>

#include "ops/reference_bounds.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"

namespace weft::ops {

/// Checks row `token` of the results of ranks[rank]; residual_x must hold the values from before
/// the call (for the in-place form: a copy). `pair` as for moe_combine.
///   x      every bit
///   rstd   within 2e-6 of the root in double of the exact f
///   y      every bit, given the rstd that was produced
/// A token that is not active has no error.
RowError check_row(std::span<const MoeCombineAddRmsNormArgs> ranks, int rank, std::int64_t token,
                   std::span<const MoeCombineAddRmsNormArgs> pair = {});

}  // namespace weft::ops
