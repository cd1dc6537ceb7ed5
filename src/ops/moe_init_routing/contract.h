// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of moe_init_routing can break.
#pragma once

#include "ops/contract.h"
#include "weft/ops/moe_init_routing.h"

namespace weft::ops {

inline constexpr std::string_view kMoeInitRouting = "moe_init_routing";

/// Rules of plan(): shapes, dtypes, strides, active_num.
Status check_plan(const MoeInitRoutingArgs& args);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MoeInitRoutingArgs& planned, const MoeInitRoutingArgs& args);

/// `row_idx`: all `count` numbers, in row-major order.
Status check_row_idx(const std::int32_t* row_idx, std::int64_t count);

}  // namespace weft::ops
