// SPDX-License-Identifier: Apache-2.0
// Products C = bias + A · B on all threads together, each of some rows of one matrix A with a
// weight of its own. Each finished tile is handed to a callback while hot.
//
// The rows are packed first. Then every product is cut into items: blocks of columns (blocked.h),
// or with few rows runs of columns that are read in place (narrow.h). Threads take one item after
// the other, whosesoever it is, so a product that is large keeps all of them busy, and many small
// ones do, too. None of this changes a bit of a result (see gemm.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/row_offsets.h"
#include "base/thread_pool.h"
#include "kernels/gemm/blocked.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/weight.h"
#include "kernels/rows/rows.h"

namespace weft::gemm {

/// Rows [begin, end) of a matrix.
struct RowRun {
  std::int64_t begin, end;
  std::int64_t count() const { return end - begin; }
};

/// A in the caller's memory: any strides.
struct RowSource {
  const std::byte* data = nullptr;
  RowOffsets offsets;
  std::int64_t k_stride = 1;  ///< elements
};

/// One product: some rows of A, one after the other, with one weight.
struct Product {
  std::span<const RowRun> runs;
  Weight weight;
  /// Values of acc's type for all columns of the weight, nr - 1 more can be read; or null.
  const void* bias = nullptr;

  // Set by run().
  std::int64_t m = 0;  ///< rows of all runs
  bool narrow = false, refused = false;
  std::byte* packed = nullptr;  ///< of A: panels of mr rows, or what narrow.pack_x makes
  std::int64_t first_item = 0;  ///< among those of all products
};

/// Finished rows [row, row + m) of a product, columns [col, col + n), in panels of panel_columns
/// columns each.
struct FinishedTile {
  std::int64_t product;  ///< its index
  std::int64_t row, col;
  int m, n;
  const void* acc;  ///< f32 or s32; within a panel rows are acc_stride_bytes apart
  std::int64_t acc_stride_bytes;
  int panel_columns;
  std::int64_t panel_stride_bytes;
  const void* twin;  ///< with two sides: the same columns of the second, laid out like acc
};

/// What happens to a finished tile; called on the thread that computed it.
struct Epilogue {
  void* object;
  void (*finish)(void* object, const FinishedTile& tile);
};

struct Batch {
  const Kernel* kernel;
  const rows::Kernels* rows;  ///< restores quantised weights; its type is the kernel's
  Blocking blocking;
  std::int64_t n;  ///< columns of a side; a weight has blocking.sides · n
  std::int64_t k;
  RowSource a;
  std::span<Product> products;
  std::byte* packed_a;         ///< packed_a_bytes(), 64-byte aligned
  std::byte* scratch;          ///< threads x scratch_bytes, 64-byte aligned
  std::int64_t scratch_bytes;  ///< per thread, from batch_scratch_bytes()
  Epilogue epilogue;
};

/// For products with at most `rows` rows in all.
std::int64_t packed_a_bytes(const Kernel& kernel, std::int64_t k, std::int64_t rows,
                            std::int64_t products);
/// `weight` stands for those of all products: how they lie. `rows`: of one product at most.
std::int64_t batch_scratch_bytes(const Kernel& kernel, const Weight& weight,
                                 const Blocking& blocking, std::int64_t rows, std::int64_t k);

/// Products without rows are allowed. Larger ones should come first: threads then end together.
void run(ThreadPool& pool, const Batch& batch);

}  // namespace weft::gemm
