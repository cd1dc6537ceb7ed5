// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <cstdint>

#include "base/context_state.h"
#include "base/scratch.h"
#include "kernels/routing/routing.h"
#include "ops/moe_gating_topk_softmax/contract.h"
#include "ops/moe_routing/row_input.h"

namespace weft::internal {

struct MoeGatingTopkSoftmaxPlan {
  ContextState& context;
  MoeGatingTopkSoftmaxArgs args;  ///< as planned; the data pointers in it are not used
  const routing::Kernels& kernels;
  std::int64_t tokens = 0, experts = 0;
  std::int64_t batch = 1;  ///< rows a thread takes at a time
  ops::RowInput x, finished;
  ops::RowOutput y, expert_idx, row_idx;
  Scratch scratch;  ///< for each thread: a row of p, then what top_k needs
  std::int64_t p_bytes = 0, thread_bytes = 0;

  bool has_work() const { return tokens > 0 && args.k > 0; }
};

}  // namespace weft::internal

namespace weft::ops {

/// Computes all rows. The arguments keep the contract.
void run_rows(internal::MoeGatingTopkSoftmaxPlan& plan, const MoeGatingTopkSoftmaxArgs& args);

}  // namespace weft::ops
