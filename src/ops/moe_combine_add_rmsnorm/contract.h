// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of moe_combine_add_rmsnorm can break.
#pragma once

#include <string_view>

#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/status.h"

namespace weft::ops {

inline constexpr std::string_view kMoeCombineAddRmsNorm = "moe_combine_add_rmsnorm";

/// Rules of plan(): shapes, dtypes, attributes.
Status check_plan(const MoeCombineAddRmsNormArgs& args, int rank, int ranks, bool tp);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MoeCombineAddRmsNormArgs& planned, const MoeCombineAddRmsNormArgs& args,
                 int rank);

}  // namespace weft::ops
