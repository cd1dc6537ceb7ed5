// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/blocked.h"

#include <algorithm>
#include <cstring>

#include "base/memory.h"

namespace weft::gemm {
namespace {

constexpr std::int64_t kAccBytes = 4;  // f32 and s32

std::int64_t tile_bytes(const Kernel& kernel) { return kAccBytes * kernel.mr * kernel.nr; }

// A thread's scratch: the packed block, the strip of pack_block, the accumulators.
struct Scratch {
  std::int64_t strip, acc, bytes;
};
Scratch scratch_layout(const Kernel& kernel, const Weight& weight, const Blocking& blocking,
                       std::int64_t m, std::int64_t k) {
  Scratch layout{};
  if (!weight.packed)
    layout.strip =
        round_up(blocking.nc / kernel.nr * kernel.b_panel_bytes(blocking.kc), kCacheLine);
  layout.acc = layout.strip +
               round_up(pack_scratch_bytes(kernel, weight, blocking.kc, blocking.nc), kCacheLine);
  // One pass over k needs one tile; several passes keep the whole block of columns.
  const std::int64_t tiles =
      blocking.kc >= k ? 1 : ceil_div(m, kernel.mr) * (blocking.nc / kernel.nr);
  layout.bytes = round_up(layout.acc + tiles * tile_bytes(kernel), 4096);
  return layout;
}

// The products of one block of columns, on one thread.
void run_columns(const Blocked& g, std::int64_t n0, std::byte* scratch) {
  const Kernel& kernel = *g.kernel;
  const Scratch layout = scratch_layout(kernel, g.weight, g.blocking, g.m, g.k);
  const std::int64_t nc = std::min(g.blocking.nc, g.n - n0);
  const std::int64_t row_panels = ceil_div(g.m, kernel.mr), column_panels = ceil_div(nc, kernel.nr);
  const std::int64_t a_panel = kernel.a_panel_bytes(g.k);
  const bool one_pass = g.blocking.kc >= g.k;

  for (std::int64_t k0 = 0; k0 < g.k; k0 += g.blocking.kc) {
    const std::int64_t kc = std::min(g.blocking.kc, g.k - k0);
    const std::int64_t b_panel = kernel.b_panel_bytes(kc);
    const std::byte* block = scratch;
    if (g.weight.packed) {
      // Blocks before this one all have packed_kc rows.
      const std::int64_t earlier = k0 / g.weight.packed_kc * ceil_div(g.n, kernel.nr);
      block = g.weight.packed + earlier * kernel.b_panel_bytes(g.weight.packed_kc) +
              n0 / kernel.nr * b_panel;
    } else {
      pack_block(kernel, *g.rows, g.weight, {k0, kc, n0, nc}, scratch, b_panel,
                 scratch + layout.strip);
    }
    for (std::int64_t i = 0; i < row_panels; ++i) {
      const std::byte* a = g.packed_a + i * a_panel;
      const int m = static_cast<int>(std::min<std::int64_t>(kernel.mr, g.m - i * kernel.mr));
      for (std::int64_t j = 0; j < column_panels; ++j) {
        const std::int64_t col = n0 + j * kernel.nr;
        std::byte* acc =
            scratch + layout.acc + (one_pass ? 0 : (i * column_panels + j) * tile_bytes(kernel));
        Tile tile{};
        tile.m = m;
        tile.k = kernel.padded_k(kc);
        tile.a_header = a;
        tile.a = a + kernel.a_header_bytes + k0 * kernel.mr * kernel.a_bytes;
        tile.b = block + j * b_panel;
        tile.acc = acc;
        tile.acc_stride_bytes = kAccBytes * kernel.nr;
        tile.bias = g.bias ? static_cast<const std::byte*>(g.bias) + col * kAccBytes : nullptr;
        tile.first = k0 == 0;
        kernel.tile(tile);
        if (k0 + kc == g.k) {
          const int n = static_cast<int>(std::min<std::int64_t>(kernel.nr, g.n - col));
          g.epilogue.finish(g.epilogue.object,
                            {i * kernel.mr, col, m, n, acc, tile.acc_stride_bytes});
        }
      }
    }
  }
}

}  // namespace

Blocking choose_blocking(const Kernel& kernel, const Weight& weight, std::int64_t m, std::int64_t n,
                         std::int64_t k, int threads, std::int64_t l2_bytes) {
  if (l2_bytes <= 0) l2_bytes = 1 << 20;
  const std::int64_t padded_k = kernel.padded_k(std::max<std::int64_t>(k, 1));
  const std::int64_t padded_n = round_up(n, kernel.nr);
  // Half of L2 for the packed block; the rest is for A, C and what the epilogue writes.
  const std::int64_t budget =
      std::max<std::int64_t>(l2_bytes / 2 / (kernel.nr * kernel.b_bytes), 1);
  Blocking blocking;
  if (weight.packed) {
    blocking.kc = weight.packed_kc;
  } else {
    blocking.kc = std::min(padded_k, round_up(std::min<std::int64_t>(1024, budget), kernel.k_step));
  }
  (void)m;
  const std::int64_t panels = std::max<std::int64_t>(1, budget / blocking.kc);
  // Every thread gets a block, and the blocks are about equally wide.
  const std::int64_t all = padded_n / kernel.nr;
  std::int64_t blocks = std::max(ceil_div(all, panels), std::min<std::int64_t>(all, threads));
  blocks = round_up(blocks, std::min<std::int64_t>(threads, std::max<std::int64_t>(all, 1)));
  blocking.nc =
      std::max<std::int64_t>(1, ceil_div(all, std::max<std::int64_t>(blocks, 1))) * kernel.nr;
  return blocking;
}

std::int64_t blocked_scratch_bytes(const Kernel& kernel, const Weight& weight,
                                   const Blocking& blocking, std::int64_t m, std::int64_t k) {
  return scratch_layout(kernel, weight, blocking, m, k).bytes;
}

void run_blocked(ThreadPool& pool, const Blocked& gemm) {
  const Kernel& kernel = *gemm.kernel;
  pool.parallel_for(ceil_div(gemm.n, gemm.blocking.nc), [&](std::int64_t block, int thread) {
    if (kernel.enter) kernel.enter();
    run_columns(gemm, block * gemm.blocking.nc, gemm.scratch + thread * gemm.scratch_bytes);
    if (kernel.leave) kernel.leave();
  });
}

std::int64_t gather_bytes(const Kernel& kernel, std::int64_t k) {
  return round_up(kernel.mr * k * info(kernel.a).bits / 8, 4096);
}

void pack_rows(ThreadPool& pool, const PackRows& args) {
  const Kernel& kernel = *args.kernel;
  const std::int64_t size = info(kernel.a).bits / 8;
  const auto row_address = [&](std::int64_t row) {
    row += args.first_row;
    return args.src + (row / args.rows_per_batch * args.batch_stride +
                       row % args.rows_per_batch * args.row_stride) *
                          size;
  };
  pool.parallel_for(ceil_div(args.m, kernel.mr), [&](std::int64_t panel, int thread) {
    const std::int64_t row = panel * kernel.mr;
    const int m = static_cast<int>(std::min<std::int64_t>(kernel.mr, args.m - row));
    const std::byte* src = row_address(row);
    std::int64_t stride = args.row_stride * size;
    const std::int64_t in_batch =
        args.rows_per_batch - (row + args.first_row) % args.rows_per_batch;
    if (args.k_stride != 1 || m > in_batch) {
      // Rows that are not one strided block are brought together first.
      std::byte* gather = args.gather + thread * args.gather_bytes;
      for (int i = 0; i < m; ++i) {
        const std::byte* from = row_address(row + i);
        std::byte* to = gather + i * args.k * size;
        if (args.k_stride == 1) {
          std::memcpy(to, from, static_cast<size_t>(args.k * size));
        } else {
          for (std::int64_t p = 0; p < args.k; ++p)
            std::memcpy(to + p * size, from + p * args.k_stride * size, static_cast<size_t>(size));
        }
      }
      src = gather;
      stride = args.k * size;
    }
    kernel.pack_a({src, stride, m, args.k, args.packed_a + panel * kernel.a_panel_bytes(args.k)});
  });
}

}  // namespace weft::gemm
