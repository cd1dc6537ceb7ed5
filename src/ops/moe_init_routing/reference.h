// SPDX-License-Identifier: Apache-2.0
// moe_init_routing in the plainest way: for tests and `weft check`.
#pragma once

#include "ops/reference_bounds.h"
#include "weft/ops/moe_init_routing.h"

namespace weft::ops {

/// Checks all results of a call whose row_idx is a permutation. Everything is exact: the worst
/// share is 0 or infinite.
RowError check_all(const MoeInitRoutingArgs& args);

}  // namespace weft::ops
