// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of moe_gating_topk_softmax can break.
#pragma once

#include "ops/contract.h"
#include "weft/ops/moe_gating_topk_softmax.h"

namespace weft::ops {

inline constexpr std::string_view kMoeGatingTopkSoftmax = "moe_gating_topk_softmax";

/// Axes of x that count tokens: all but the last.
inline int leading_axes(const MoeGatingTopkSoftmaxArgs& args) { return args.x.rank() - 1; }

/// Rules of plan(): shapes, dtypes, strides, k.
Status check_plan(const MoeGatingTopkSoftmaxArgs& args);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MoeGatingTopkSoftmaxArgs& planned, const MoeGatingTopkSoftmaxArgs& args);

}  // namespace weft::ops
