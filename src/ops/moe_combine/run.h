// SPDX-License-Identifier: Apache-2.0
// The algorithm of Combine.
#pragma once

#include <cstdint>

#include "ops/moe_combine/combine.h"

namespace weft::ops {

/// What a rank says of its call before anything of it travels; rows for each rank follow it.
struct CombineHead {
  /// Turns of each piece in the ring, a power of two; 0: its rows are all in the half.
  std::int64_t turns;
  std::int64_t tokens;
};

/// `expand_x`: that of the arguments, or with TP the sums over the pair.
Status run_combine(Combine& plan, const MoeCombineArgs& args, const ConstTensorRef& expand_x,
                   const CombineEpilogue& epilogue);

}  // namespace weft::ops
