// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of add_rmsnorm can break.
#pragma once

#include "ops/contract.h"
#include "weft/ops/add_rmsnorm.h"

namespace weft::ops {

inline constexpr std::string_view kAddRmsNorm = "add_rmsnorm";

/// Axes of x1 that count rows; the others, gamma's, are normalised.
inline int leading_axes(const AddRmsNormArgs& args) { return args.x1.rank() - args.gamma.rank(); }

/// Rules of plan(): shapes, dtypes, strides, attributes.
Status check_plan(const AddRmsNormArgs& args);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const AddRmsNormArgs& planned, const AddRmsNormArgs& args);

}  // namespace weft::ops
