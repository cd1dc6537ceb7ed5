// SPDX-License-Identifier: Apache-2.0
// The local product of one rank, rows at a time: partial = T(dequant(x1 · x2 + bias)) + x3, as T or
// as the int8 it travels as.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/context_state.h"
#include "base/scratch.h"
#include "kernels/rows/rows.h"
#include "ops/grouped_matmul/grouped_matmul.h"
#include "ops/local_matmul/operands.h"
#include "ops/row_tensor.h"
#include "weft/status.h"

namespace weft::ops {

/// Rows of the product and where they go, row_bytes apart.
struct PartialRun {
  gemm::RowRun rows;
  std::byte* dst;
};

class LocalMatmul {
 public:
  LocalMatmul() = default;  ///< plans nothing; only to be assigned to
  /// For operands that keep the contract. `max_rows`, `max_runs`: the most that one compute() is
  /// asked for.
  static Result<LocalMatmul> plan(internal::ContextState& context, const MatmulOperands& operands,
                                  DType io, std::int64_t max_rows, int max_runs);

  /// Takes the pointers of one run and reads the small operands (bias, scales). Allocates nothing.
  void bind(const MatmulOperands& operands);

  /// The rows of the runs, in their order. As T, or with quant_scale (n values) as int8.
  struct Output {
    std::span<const PartialRun> runs;
    std::int64_t row_bytes;
    rows::Store store;
    const float* quant_scale = nullptr;
  };
  void compute(const Output& output);

  const rows::Kernels& row_kernels() const { return grouped_.row_kernels(); }
  std::int64_t m() const { return m_; }
  std::int64_t n() const { return grouped_.n(); }
  std::int64_t k() const { return grouped_.k(); }
  std::int64_t scratch_bytes() const { return grouped_.scratch_bytes() + row_scale_.bytes(); }
  /// Kernel, blocks, scratch: one fact a line.
  std::string describe() const;

 private:
  void store_tile(const gemm::FinishedTile& tile);
  /// Rows [begin, end) of the tile: rows [row, …) of the product, at dst.
  void store_rows(const gemm::FinishedTile& tile, int begin, int end, std::int64_t row,
                  std::byte* dst);

  std::int64_t m_ = 0;
  GroupedMatmul grouped_;  // one group: the rows of a compute()
  gemm::RowSource x1_;
  Scratch row_scale_;
  std::vector<gemm::RowRun> runs_;  // of the compute() at hand

  bool has_x3_ = false;
  RowView<const std::byte> x3_;
  Output output_{};  // what compute() is writing
};

}  // namespace weft::ops
