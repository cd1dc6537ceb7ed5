// SPDX-License-Identifier: Apache-2.0
// What people do without a fused operator: a matmul, then an all-reduce, then add + RMSNorm, each
// at its best and on the same kernels, windows and threads as the fused one. Only for comparison:
// tools and benchmarks.
#pragma once

#include <cstdint>

#include "base/memory.h"
#include "comm/group_state.h"
#include "ops/local_matmul/local_matmul.h"
#include "tile/tile_comm.h"
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
  Status run(const MatmulAllReduceAddRmsNormArgs& args);
  /// Local: the first step alone.
  void gemm(const MatmulAllReduceAddRmsNormArgs& args);

 private:
  Unfused(Context& context, Group& group) : context_(&context.state()), group_(&group.state()) {}
  Status allreduce();
  void add_rmsnorm(const MatmulAllReduceAddRmsNormArgs& args);
  std::byte* row(std::int64_t i) const { return partial_.data() + i * row_bytes_; }

  internal::ContextState* context_;
  internal::GroupState* group_;
  ops::LocalMatmul local_;
  tile::Layout layout_{tile::Collective::kAllReduce, tile::Pattern::kRing,
                       tile::Grid(tile::Deal::kWithinBlocks, 0, 1, 1), 0, 0};
  std::int64_t row_bytes_ = 0;
  Buffer partial_;  ///< the product, then the all-reduced sum, in place
  Buffer scratch_;  ///< per thread: a row, and the ranks' row pointers
  std::int64_t scratch_bytes_ = 0;
};

}  // namespace weft::bench
