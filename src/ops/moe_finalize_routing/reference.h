// SPDX-License-Identifier: Apache-2.0
// moe_finalize_routing in the plainest way: for tests and `weft check`.
#pragma once

#include <cstdint>

#include "ops/reference_bounds.h"
#include "weft/ops/moe_finalize_routing.h"

namespace weft::ops {

/// Checks row `row` of out, one rounding after the other: the worst share is 0, or infinite if a
/// bit differs. x1 and x2 must hold the values from before the call (in place: a copy).
RowError check_row(const MoeFinalizeRoutingArgs& args, std::int64_t row);

}  // namespace weft::ops
