// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include "ops/moe_combine/combine.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"

namespace weft::internal {

struct MoeCombineAddRmsNormPlan {
  MoeCombineAddRmsNormArgs args;  ///< as planned; the data pointers in it are not used
  ops::Combine combine;
  Scratch gamma;  ///< gamma with adjacent elements
};

}  // namespace weft::internal
