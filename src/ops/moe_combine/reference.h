// SPDX-License-Identifier: Apache-2.0
// moe_combine one token at a time, straight from its definition: for tests and `weft check`. Needs
// the operands of all ranks in one process.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/reference_bounds.h"
#include "weft/ops/moe_combine.h"

namespace weft::ops {

/// Whether the token is active: the others are not written.
bool reference_active(const MoeCombineArgs& args, std::int64_t token);

/// The fp32 sum of an active token before it is rounded to T. Empty if a routed or shared entry has
/// no row that names it.
std::vector<float> reference_sum(std::span<const MoeCombineArgs> ranks, int rank,
                                 std::int64_t token, std::span<const MoeCombineArgs> pair = {});

/// Checks row `token` of x of ranks[rank]: every bit is known, so an error is 0 or infinite. With
/// TP `pair` has the operands of the other ranks of the pairs, in the same order. A token that is
/// not active has no error.
RowError check_row(std::span<const MoeCombineArgs> ranks, int rank, std::int64_t token,
                   std::span<const MoeCombineArgs> pair = {});

}  // namespace weft::ops
