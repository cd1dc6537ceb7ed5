// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include "ops/moe_combine/combine.h"

namespace weft::internal {

struct MoeCombinePlan {
  MoeCombineArgs args;  ///< as planned; the data pointers in it are not used
  ops::Combine combine;
};

}  // namespace weft::internal
