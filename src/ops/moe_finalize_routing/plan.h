// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <cstdint>

#include "base/context_state.h"
#include "base/scratch.h"
#include "kernels/routing/routing.h"
#include "ops/moe_finalize_routing/contract.h"
#include "ops/moe_routing/row_input.h"

namespace weft::internal {

struct MoeFinalizeRoutingPlan {
  ContextState& context;
  MoeFinalizeRoutingArgs args;  ///< as planned; the data pointers in it are not used
  const routing::Kernels& kernels;
  ops::FinalizeShape shape{};
  std::int64_t batch = 1;  ///< rows a thread takes at a time
  rows::Store store = rows::Store::kPlain;
  ops::RowInput expanded_x, x1, x2, bias;
  ops::RowInput expanded_row_idx, expert_idx, scales;  ///< as one row each
  ops::RowOutput out;
  Scratch scratch;  ///< for each thread: K pointers to rows, K to biases, K scales
  std::int64_t pointer_bytes = 0, thread_bytes = 0;

  bool has_work() const { return shape.n > 0 && shape.h > 0; }
};

}  // namespace weft::internal

namespace weft::ops {

/// Computes all rows. The arguments keep the contract; what the indices say is checked here, before
/// anything is written.
Status run_rows(internal::MoeFinalizeRoutingPlan& plan, const MoeFinalizeRoutingArgs& args);

}  // namespace weft::ops
