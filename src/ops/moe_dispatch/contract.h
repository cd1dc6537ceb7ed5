// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of moe_dispatch can break.
#pragma once

#include <string_view>

#include "weft/ops/moe_dispatch.h"
#include "weft/status.h"

namespace weft::ops {

inline constexpr std::string_view kMoeDispatch = "moe_dispatch";

/// Rules of plan(): shapes, dtypes, attributes.
Status check_plan(const MoeDispatchArgs& args, int rank, int ranks, bool tp);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MoeDispatchArgs& planned, const MoeDispatchArgs& args, int rank);

}  // namespace weft::ops
