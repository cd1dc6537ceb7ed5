// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include "ops/moe_combine/combine.h"

namespace weft::internal {

struct MoeCombinePlan {
  ops::Combine combine;
};

}  // namespace weft::internal
