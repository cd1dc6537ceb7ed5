// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include "ops/matmul_allreduce_add_rmsnorm/contract.h"
#include "ops/matmul_collective/matmul_collective.h"

namespace weft::internal {

struct MatmulAllReduceAddRmsNormPlan {
  GroupState& group;
  MatmulAllReduceAddRmsNormArgs args;  ///< as planned; the data pointers in it are not used
  ops::MatmulCollective collective;
  Scratch gamma;  ///< gamma with adjacent elements
};

}  // namespace weft::internal
