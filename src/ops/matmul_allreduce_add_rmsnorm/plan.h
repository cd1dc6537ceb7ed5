// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <vector>

#include "base/context_state.h"
#include "comm/group_state.h"
#include "ops/local_matmul/local_matmul.h"
#include "ops/matmul_allreduce_add_rmsnorm/contract.h"
#include "tile/tile_comm.h"

namespace weft::internal {

struct MatmulAllReduceAddRmsNormPlan {
  ContextState& context;
  GroupState& group;
  MatmulAllReduceAddRmsNormArgs args;  ///< as planned; the data pointers in it are not used
  MatmulAllReduceAddRmsNormOptions options;
  ops::LocalMatmul local;
  tile::Layout layout;
  CallHeader header;   ///< what all ranks must agree on
  Buffer row_scratch;  ///< per thread: a row of y, a row of sums, the ranks' row pointers
  std::int64_t row_scratch_bytes = 0;  ///< of one thread
  Buffer gamma;                        ///< gamma with adjacent elements
  bool empty = false;  ///< nothing to compute: run() only checks that all ranks agree
};

}  // namespace weft::internal

namespace weft::ops {

/// Runs the tile pipeline. The arguments keep the contract.
Status run_tiles(internal::MatmulAllReduceAddRmsNormPlan& plan,
                 const MatmulAllReduceAddRmsNormArgs& args);

}  // namespace weft::ops
