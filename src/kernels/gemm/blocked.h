// SPDX-License-Identifier: Apache-2.0
// The cache-blocked gemm: C = bias + A · B, tile by tile, each finished tile handed to a callback
// while hot.
//
//   for each block of nc columns                     (dealt out to the threads)
//     for each block of ks rows of k                 pack B into this thread's L2
//       for each panel of mr rows of A
//         for each chunk of kc rows of k             this piece of A stays in L1 …
//           for each panel of nr columns             … while B and C stream past it: micro-kernel
//         after the last k: the callback for these rows
//
// Blocking never changes a bit of the result (see gemm.h), so it is free to follow the caches. What
// the loops cost in other orders is in docs/measurements/gemm.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/weight.h"
#include "kernels/rows/rows.h"

namespace weft::gemm {

struct Blocking {
  std::int64_t kc;  ///< rows of k per chunk, multiple of k_step
  std::int64_t ks;  ///< rows of k per packed block, multiple of kc
  std::int64_t nc;  ///< columns per packed block, multiple of nr
};

/// Data caches of one core.
struct Caches {
  std::int64_t l1_bytes, l2_bytes;
};

/// Blocks for an m x n x k product.
Blocking choose_blocking(const Kernel& kernel, const Weight& weight, std::int64_t n, std::int64_t k,
                         int threads, const Caches& caches);
/// Its kc when nothing else matters: what a weight is packed in that is packed once.
std::int64_t choose_chunk(const Kernel& kernel, std::int64_t k, const Caches& caches);

/// Finished rows [row, row + m), columns [col, col + n) of C, in panels of panel_columns columns
/// each.
struct FinishedTile {
  std::int64_t row, col;
  int m, n;
  const void* acc;  ///< f32 or s32; within a panel rows are acc_stride_bytes apart
  std::int64_t acc_stride_bytes;
  int panel_columns;
  std::int64_t panel_stride_bytes;
};

/// What happens to a finished tile; called on the thread that computed it.
struct Epilogue {
  void* object;
  void (*finish)(void* object, const FinishedTile& tile);
};

struct Blocked {
  const Kernel* kernel;
  const rows::Kernels* rows;  ///< restores quantised weights; its type is the kernel's
  Blocking blocking;
  std::int64_t m, n, k;
  const std::byte* packed_a;  ///< panels of mr rows over all of k, a_panel_bytes(k) apart
  Weight weight;
  const void* bias;            ///< n values of acc's type, readable up to round_up(n, nr); or null
  std::byte* scratch;          ///< threads x scratch_bytes(), 64-byte aligned
  std::int64_t scratch_bytes;  ///< per thread, from blocked_scratch_bytes()
  Epilogue epilogue;
};

std::int64_t blocked_scratch_bytes(const Kernel& kernel, const Weight& weight,
                                   const Blocking& blocking, std::int64_t m, std::int64_t k);

void run_blocked(ThreadPool& pool, const Blocked& gemm);

/// Few rows against a weight with adjacent k or n, which is then read in place and once: the same
/// bits as run_blocked, whose blocking and packed_a are not used. `packed_x` is what pack_few_rows
/// made of the rows. False: a value needs the ordinary kernel (gemm.h); call run_blocked for the
/// whole product.
bool narrow_applies(const Kernel& kernel, const Weight& weight, std::int64_t m);
bool run_narrow(ThreadPool& pool, const Blocked& gemm, const std::byte* packed_x);

/// Rows [begin, end) of a matrix.
struct RowRun {
  std::int64_t begin, end;
  std::int64_t count() const { return end - begin; }
};

/// Packs rows of A (strides in elements) into panels, the panels dealt out to the threads. `gather`
/// is per-thread scratch for the rows of a panel, used only where they are not one strided block
/// with adjacent k.
struct PackRows {
  const Kernel* kernel;
  std::int64_t m, k;
  const std::byte* src;
  std::int64_t
      rows_per_batch;  ///< row i lies at (i / rows_per_batch) * batch_stride + (i % …) * row_stride
  std::int64_t batch_stride, row_stride, k_stride;
  std::span<const RowRun> runs;  ///< rows of src, one after the other: m rows of A
  std::byte* packed_a;
  std::byte* gather;
  std::int64_t gather_bytes;  ///< per thread
};
std::int64_t gather_bytes(const Kernel& kernel, std::int64_t k);
void pack_rows(ThreadPool& pool, const PackRows& args);
/// For run_narrow: x_panel_bytes(k) at packed_x; args.packed_a is not used.
void pack_few_rows(const PackRows& args, std::byte* packed_x);

}  // namespace weft::gemm
