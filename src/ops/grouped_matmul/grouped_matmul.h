// SPDX-License-Identifier: Apache-2.0
// The grouped product: groups of rows of x, each with a weight of its own, on all threads together;
// one group is the local product of the matmul family. What becomes of finished tiles is the
// caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context_state.h"
#include "base/scratch.h"
#include "kernels/gemm/batch.h"
#include "kernels/rows/rows.h"
#include "ops/grouped_matmul/bound_weights.h"
#include "weft/status.h"

namespace weft::ops {

/// Rows of x, those of the runs one after the other, and the expert whose weight they meet.
struct RowGroup {
  std::span<const gemm::RowRun> runs;
  std::int64_t expert = 0;
};

/// What a plan is made for.
struct GroupedShape {
  DType x, io;            ///< of x; T
  std::int64_t max_rows;  ///< of all groups of a compute()
  std::int64_t max_groups;
  int sides = 1;                                   ///< gemm::Blocking
  std::string_view packed_name = "packed_weight";  ///< for messages
};

class GroupedMatmul {
 public:
  GroupedMatmul() = default;  ///< plans nothing; only to be assigned to
  /// For operands that keep the operator's contract.
  static Result<GroupedMatmul> plan(internal::ContextState& context, const WeightOperands& operands,
                                    const GroupedShape& shape);

  /// Reads the small operands of the experts that have rows. Allocates nothing.
  void bind(const WeightOperands& operands, std::span<const RowGroup> groups);
  /// Other rows for a group that is bound.
  void set_runs(std::int64_t group, std::span<const gemm::RowRun> runs) {
    products_[static_cast<size_t>(group)].runs = runs;
  }
  /// The products of what is bound; tiles name their group as their product. Groups with more rows
  /// should come first.
  void compute(const gemm::RowSource& x, const gemm::Epilogue& epilogue);

  /// Rows [begin, begin + count) of a tile for the row kernels, with its scales; where they go and
  /// what else becomes of them is the caller's. store() writes them.
  rows::StoreTile tile_rows(const gemm::FinishedTile& tile, std::int64_t begin,
                            std::int64_t count) const;
  void store(const rows::StoreTile& tile) const;

  const BoundWeight& bound(std::int64_t group) const { return bound_[static_cast<size_t>(group)]; }
  const rows::Kernels& row_kernels() const { return *rows_; }
  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t scratch_bytes() const;
  /// Kernel, blocks, how the weight lies: one fact a line.
  std::string describe(std::string_view weight_name) const;

 private:
  internal::ContextState* context_ = nullptr;
  const gemm::Kernel* kernel_ = nullptr;
  const rows::Kernels* rows_ = nullptr;  // of T
  gemm::Blocking blocking_{};
  gemm::Weight layout_;
  std::int64_t n_ = 0, k_ = 0;  // of the weight, all sides
  BoundWeights weights_;
  std::vector<gemm::Product> products_;
  std::vector<BoundWeight> bound_;
  Scratch packed_a_, scratch_;
  std::int64_t thread_scratch_bytes_ = 0;
};

/// Rows of any strides: all axes but the last count them.
gemm::RowSource row_source(const ConstTensorRef& x);

}  // namespace weft::ops
