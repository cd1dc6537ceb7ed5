// SPDX-License-Identifier: Apache-2.0
// The cache-blocked product of packed rows with a block of columns:
//
//     for each block of ks rows of k                   pack B into this thread's L2
//       for each panel of mr rows of A
//         for each chunk of kc rows of k               this piece of A stays in L1 …
//           for each panel of nr columns               … while the next one comes, and B and C
//                                                      stream past it: micro-kernel
//         after the last k: the callback for these rows
//
// Blocking never changes a bit of the result (see gemm.h), so it is free to follow the caches. What
// the loops cost in other orders is in docs/measurements/gemm.md.
//
// A weight may have two sides of n columns, side by side, whose columns belong together (a value
// and its gate). Then a block has the same columns of both, and they are finished together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/weight.h"

namespace weft::gemm {

struct Batch;
struct Product;

inline constexpr std::int64_t kAccBytes = 4;  ///< of a sum, f32 or s32
inline constexpr int kMostSides = 2;

struct Blocking {
  std::int64_t kc;  ///< rows of k per chunk, multiple of k_step
  std::int64_t ks;  ///< rows of k per packed block, multiple of kc
  std::int64_t nc;  ///< columns (of each side) per packed block, multiple of nr
  int sides = 1;
};

/// Data caches of one core.
struct Caches {
  std::int64_t l1_bytes, l2_bytes;
};
/// Of this machine; 32 KiB and 1 MiB where it does not say.
Caches machine_caches();

/// AMX's loads of B and C leave L1 to A (TILELOADDT1); those of other kernels go through it.
bool loads_past_l1(const Kernel& kernel);

/// Blocks for products with n columns (of each side) and depth k.
Blocking choose_blocking(const Kernel& kernel, const Weight& weight, std::int64_t n, std::int64_t k,
                         int threads, const Caches& caches, int sides = 1);
/// Its kc when nothing else matters: what a weight is packed in that is packed once.
std::int64_t choose_chunk(const Kernel& kernel, std::int64_t k, const Caches& caches);

/// `rows`: of a product at most.
std::int64_t blocked_scratch_bytes(const Kernel& kernel, const Weight& weight,
                                   const Blocking& blocking, std::int64_t rows, std::int64_t k);

/// Rows [row, row + m) of a product, row a multiple of mr, with the columns from n0 on that make a
/// block.
struct BlockOf {
  std::int64_t product;
  std::int64_t row, m;
  std::int64_t n0;
};
void multiply_block(const Batch& batch, const BlockOf& block, std::byte* scratch);

}  // namespace weft::gemm
