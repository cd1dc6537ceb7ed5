// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <cstdint>

#include "base/context_state.h"
#include "base/scratch.h"
#include "ops/moe_init_routing/contract.h"
#include "ops/moe_routing/row_input.h"

namespace weft::internal {

struct MoeInitRoutingPlan {
  ContextState& context;
  MoeInitRoutingArgs args;  ///< as planned; the data pointers in it are not used
  std::int64_t n = 0, pairs = 0;
  std::int64_t rows = 0, row_bytes = 0;  ///< of expanded_x
  std::int64_t batch = 1;                ///< rows a thread takes at a time
  ops::RowInput x, row_idx, expert_idx;  ///< the last two as one row
  ops::RowOutput expanded_x;
  Scratch scratch;  ///< the pairs twice, for sorting
};

}  // namespace weft::internal

namespace weft::ops {

/// Sorts and copies. The arguments keep the contract; what row_idx says is checked here, before
/// anything is written.
Status run_routing(internal::MoeInitRoutingPlan& plan, const MoeInitRoutingArgs& args);

}  // namespace weft::ops
