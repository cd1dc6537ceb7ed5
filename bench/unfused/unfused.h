// SPDX-License-Identifier: Apache-2.0
// What people do without a fused operator: a matmul, then an all-reduce, then add + RMSNorm, each
// at its best and on the same kernels, windows and threads as the fused one. Only for comparison:
// tools and benchmarks.
#pragma once

#include <cstdint>

#include "base/memory.h"
#include "comm/group_state.h"
#include "ops/matmul_allreduce_add_rmsnorm/contract.h"
#include "tile/tile_comm.h"
#include "unfused/local_gemm.h"
#include "weft/context.h"
#include "weft/group.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace weft::bench {

class Unfused {
 public:
  /// The same arguments as the fused operator's plan; residual, y and norm_out must be dense.
  static Result<Unfused> plan(Context& context, Group& group,
                              const MatmulAllReduceAddRmsNormArgs& args);
  /// Collective. All three steps.
  Status run(const MatmulAllReduceAddRmsNormArgs& args);  /// Local: the first step alone.
  void gemm(const MatmulAllReduceAddRmsNormArgs& args) { gemm_.run(ops::operands_of(args)); }

 private:
  Unfused(Context& context, Group& group) : context_(&context.state()), group_(&group.state()) {}
  Status allreduce();
  void add_rmsnorm(const MatmulAllReduceAddRmsNormArgs& args);

  internal::ContextState* context_;
  internal::GroupState* group_;
  LocalGemm gemm_;  ///< its product becomes the all-reduced sum, in place
  tile::Layout layout_{tile::Collective::kAllReduce, tile::Pattern::kRing,
                       tile::Grid(tile::Deal::kWithinBlocks, 0, 1, 1), 0, 0};
  Buffer scratch_;  ///< per thread: a row, and the ranks' row pointers
  std::int64_t scratch_bytes_ = 0;
};

}  // namespace weft::bench
