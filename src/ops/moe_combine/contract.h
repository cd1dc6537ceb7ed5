// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of moe_combine can break.
#pragma once

#include <string_view>

#include "ops/contract.h"
#include "weft/ops/moe_combine.h"
#include "weft/status.h"

namespace weft::ops {

inline constexpr std::string_view kMoeCombine = "moe_combine";

TensorList named_tensors(const MoeCombineArgs& args);

/// Rules of plan(): shapes, dtypes, attributes. In three steps, so that moe_combine_add_rmsnorm can
/// add its own to each.
void check_given(Contract& contract, const MoeCombineArgs& args, bool tp);
void check_dtypes(Contract& contract, const MoeCombineArgs& args);
void check_shapes(Contract& contract, const MoeCombineArgs& args, int rank, int ranks, bool tp);
Status check_plan(const MoeCombineArgs& args, int rank, int ranks, bool tp);

/// Rules of run(): the same attributes as planned; layouts, data and overlaps are the caller's to
/// check.
void check_attributes_as_planned(Contract& contract, const MoeCombineArgs& planned,
                                 const MoeCombineArgs& args);
/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MoeCombineArgs& planned, const MoeCombineArgs& args, int rank);

}  // namespace weft::ops
