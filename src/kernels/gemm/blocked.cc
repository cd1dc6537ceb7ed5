// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/blocked.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/memory.h"

namespace weft::gemm {
namespace {

constexpr std::int64_t kAccBytes = 4;  // f32 and s32

std::int64_t tile_bytes(const Kernel& kernel) { return kAccBytes * kernel.mr * kernel.nr; }

// Bytes of a packed block: its chunks one after the other, each with all its panels.
std::int64_t block_bytes(const Kernel& kernel, const Blocking& blocking, std::int64_t ks,
                         std::int64_t panels) {
  const std::int64_t whole = ks / blocking.kc, rest = ks % blocking.kc;
  return panels *
         (whole * kernel.b_panel_bytes(blocking.kc) + (rest ? kernel.b_panel_bytes(rest) : 0));
}

// A thread's scratch: the packed block, the strip of pack_block, the accumulators.
struct Scratch {
  std::int64_t strip, acc, bytes;
};
Scratch scratch_layout(const Kernel& kernel, const Weight& weight, const Blocking& blocking,
                       std::int64_t m, std::int64_t k) {
  const std::int64_t panels = blocking.nc / kernel.nr;
  Scratch layout{};
  if (!weight.packed)
    layout.strip = round_up(block_bytes(kernel, blocking, blocking.ks, panels), kCacheLine);
  layout.acc = layout.strip +
               round_up(pack_scratch_bytes(kernel, weight, blocking.kc, blocking.nc), kCacheLine);
  // One pass over k needs the tiles of one panel of rows; several passes keep them all.
  const std::int64_t row_panels = blocking.ks >= k ? 1 : ceil_div(m, kernel.mr);
  layout.bytes = round_up(layout.acc + row_panels * panels * tile_bytes(kernel), 4096);
  return layout;
}

// The products of one block of columns, on one thread.
class Columns {
 public:
  Columns(const Blocked& gemm, std::int64_t n0, std::byte* scratch)
      : g_(gemm),
        kernel_(*gemm.kernel),
        scratch_(scratch),
        layout_(scratch_layout(kernel_, gemm.weight, gemm.blocking, gemm.m, gemm.k)),
        n0_(n0),
        nc_(std::min(gemm.blocking.nc, gemm.n - n0)),
        panels_(ceil_div(nc_, kernel_.nr)) {}

  void run() {
    if (g_.k == 0) return bias_alone();
    for (std::int64_t k0 = 0; k0 < g_.k; k0 += g_.blocking.ks) {
      const std::int64_t ks = std::min(g_.blocking.ks, g_.k - k0);
      if (!g_.weight.packed) pack(k0, ks);
      for (std::int64_t i = 0; i < ceil_div(g_.m, kernel_.mr); ++i) {
        multiply(i, k0, ks);
        if (k0 + ks == g_.k) finish(i);
      }
    }
  }

 private:
  void pack(std::int64_t k0, std::int64_t ks) {
    std::byte* chunk = scratch_;
    for (std::int64_t k = 0; k < ks; k += g_.blocking.kc) {
      const std::int64_t kc = std::min(g_.blocking.kc, ks - k), panel = kernel_.b_panel_bytes(kc);
      pack_block(kernel_, *g_.rows, g_.weight, {k0 + k, kc, n0_, nc_}, chunk, panel,
                 scratch_ + layout_.strip);
      chunk += panels_ * panel;
    }
  }

  // The packed panels of the chunk at k0 + k.
  const std::byte* chunk(std::int64_t k0, std::int64_t k, std::int64_t kc) const {
    const std::int64_t whole =
        kernel_.b_panel_bytes(g_.blocking.kc);  // of every chunk before this one
    if (!g_.weight.packed) return scratch_ + k / g_.blocking.kc * panels_ * whole;
    return g_.weight.packed + (k0 + k) / g_.blocking.kc * ceil_div(g_.n, kernel_.nr) * whole +
           n0_ / kernel_.nr * kernel_.b_panel_bytes(kc);
  }

  std::byte* acc(std::int64_t i) const {
    const std::int64_t row_panel = g_.blocking.ks >= g_.k ? 0 : i;
    return scratch_ + layout_.acc + row_panel * panels_ * tile_bytes(kernel_);
  }

  // One panel of rows, rows [k0, k0 + ks) of k, all columns of the block. Fields of the tile are
  // written one by one: copying it whole would wait for the stores of the tile before (measured:
  // -40% on short tiles).
  void multiply(std::int64_t i, std::int64_t k0, std::int64_t ks) {
    const std::byte* a = g_.packed_a + i * kernel_.a_panel_bytes(g_.k);
    const std::int64_t a_row = std::int64_t{kernel_.mr} * kernel_.a_bytes;
    Tile tile{};
    tile.m = static_cast<int>(std::min<std::int64_t>(kernel_.mr, g_.m - i * kernel_.mr));
    tile.a_header = a;
    tile.acc_stride_bytes = kAccBytes * kernel_.nr;
    for (std::int64_t k = 0; k < ks; k += g_.blocking.kc) {
      const std::int64_t kc = std::min(g_.blocking.kc, ks - k), panel = kernel_.b_panel_bytes(kc);
      const std::byte* b = chunk(k0, k, kc);
      tile.k = kernel_.padded_k(kc);
      tile.a = a + kernel_.a_header_bytes + (k0 + k) * a_row;
      tile.first = k0 + k == 0;
      // What comes next of A, fetched piece by piece while this chunk is multiplied.
      const bool last_chunk = k + kc == ks, last_panel = (i + 1) * kernel_.mr >= g_.m;
      const std::byte* next =
          last_chunk ? a + kernel_.a_panel_bytes(g_.k) + kernel_.a_header_bytes + k0 * a_row
                     : static_cast<const std::byte*>(tile.a) + tile.k * a_row;
      tile.ahead_bytes =
          last_chunk && last_panel ? 0 : round_up(tile.k * a_row / panels_, kCacheLine);
      for (std::int64_t j = 0; j < panels_; ++j) {
        tile.b = b + j * panel;
        tile.acc = acc(i) + j * tile_bytes(kernel_);
        tile.bias =
            g_.bias ? static_cast<const std::byte*>(g_.bias) + (n0_ + j * kernel_.nr) * kAccBytes
                    : nullptr;
        tile.ahead = tile.ahead_bytes ? next + j * tile.ahead_bytes : nullptr;
        kernel_.tile(tile);
      }
    }
  }

  // An empty sum: C is the bias, or zero.
  void bias_alone() {
    for (std::int64_t i = 0; i < ceil_div(g_.m, kernel_.mr); ++i) {
      for (std::int64_t j = 0; j < panels_ * kernel_.mr; ++j) {
        std::byte* row = acc(i) + j * kernel_.nr * kAccBytes;
        const std::int64_t column = n0_ + j / kernel_.mr * kernel_.nr;
        const auto bytes = static_cast<size_t>(kernel_.nr * kAccBytes);
        if (g_.bias)
          std::memcpy(row, static_cast<const std::byte*>(g_.bias) + column * kAccBytes, bytes);
        else
          std::memset(row, 0, bytes);
      }
      finish(i);
    }
  }

  void finish(std::int64_t i) {
    const std::int64_t row = i * kernel_.mr;
    const int m = static_cast<int>(std::min<std::int64_t>(kernel_.mr, g_.m - row));
    g_.epilogue.finish(g_.epilogue.object,
                       {row, n0_, m, static_cast<int>(nc_), acc(i), kAccBytes * kernel_.nr,
                        kernel_.nr, tile_bytes(kernel_)});
  }

  const Blocked& g_;
  const Kernel& kernel_;
  std::byte* scratch_;
  const Scratch layout_;
  const std::int64_t n0_, nc_, panels_;
};

}  // namespace

std::int64_t choose_chunk(const Kernel& kernel, std::int64_t k, const Caches& caches) {
  // A chunk of A takes two thirds of L1 (half where elements are widened to 4 bytes, whose B panels
  // are twice as large): longer chunks fall out of it, shorter ones load and store C more often.
  const std::int64_t l1 = caches.l1_bytes > 0 ? caches.l1_bytes : 32 << 10;
  const std::int64_t budget = kernel.a_bytes == 4 ? l1 / 2 : l1 * 2 / 3;
  const std::int64_t step_bytes = std::int64_t{kernel.mr} * kernel.k_step * kernel.a_bytes;
  const std::int64_t steps = std::max<std::int64_t>(1, budget / step_bytes);
  const std::int64_t all = kernel.padded_k(std::max<std::int64_t>(k, 1)) / kernel.k_step;
  return ceil_div(all, ceil_div(all, steps)) * kernel.k_step;  // chunks of about equal length
}

Blocking choose_blocking(const Kernel& kernel, const Weight& weight, std::int64_t n, std::int64_t k,
                         int threads, const Caches& caches) {
  Blocking blocking;
  blocking.kc = weight.packed ? weight.packed_kc : choose_chunk(kernel, k, caches);
  // Half of L2 for the packed block; the rest is for A, C and what the callback writes. About as
  // deep as wide.
  const std::int64_t half = (caches.l2_bytes > 0 ? caches.l2_bytes : 1 << 20) / 2;
  const std::int64_t panel_row = std::int64_t{kernel.nr} * kernel.b_bytes;
  constexpr std::int64_t kDepthBytes = 2048;  // of one column: 1024 rows of 16 bits, 2048 of 8
  const std::int64_t depth =
      std::max<std::int64_t>(kDepthBytes / std::min(kernel.b_bytes, 2), blocking.kc);
  const std::int64_t chunks = ceil_div(kernel.padded_k(std::max<std::int64_t>(k, 1)), blocking.kc);
  const std::int64_t blocks =
      ceil_div(chunks * blocking.kc, depth + depth / 4);  // no short last block
  blocking.ks = ceil_div(chunks, blocks) * blocking.kc;
  // Every thread gets a block of columns, and the blocks are about equally wide.
  const std::int64_t panels = std::max<std::int64_t>(1, half / (panel_row * blocking.ks));
  const std::int64_t all = std::max<std::int64_t>(1, ceil_div(n, kernel.nr));
  const std::int64_t sharers = std::min<std::int64_t>(threads, all);
  blocking.nc = ceil_div(all, round_up(ceil_div(all, panels), sharers)) * kernel.nr;
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
    Columns(gemm, block * gemm.blocking.nc, gemm.scratch + thread * gemm.scratch_bytes).run();
    if (kernel.leave) kernel.leave();
    rows::stream_fence();  // callbacks may have written past the cache; the caller sees it when we
                           // return
  });
}

std::int64_t gather_bytes(const Kernel& kernel, std::int64_t k) {
  return round_up(kernel.mr * k * info(kernel.a).bits / 8, 4096);
}

namespace {

// Row i of A, which is the i-th row of all runs: its place in src, and how many rows from there on
// are row_stride apart.
struct SourceRows {
  const std::byte* address;
  std::int64_t count;
};
SourceRows source_rows(const PackRows& args, std::int64_t i) {
  const RowRun* run = args.runs.data();
  for (; i >= run->count(); ++run) i -= run->count();
  const std::int64_t row = run->begin + i, in_batch = row % args.rows_per_batch;
  const std::int64_t element =
      row / args.rows_per_batch * args.batch_stride + in_batch * args.row_stride;
  return {args.src + element * info(args.kernel->a).bits / 8,
          std::min(run->end - row, args.rows_per_batch - in_batch)};
}

// Rows [row, row + m) of A as one strided block with adjacent k, brought together in `gather` if
// they are not one.
PackA one_block(const PackRows& args, std::int64_t row, int m, std::byte* gather) {
  const std::int64_t size = info(args.kernel->a).bits / 8;
  const SourceRows first = source_rows(args, row);
  if (args.k_stride == 1 && m <= first.count)
    return {first.address, args.row_stride * size, m, args.k, nullptr};
  for (int i = 0; i < m; ++i) {
    const std::byte* from = source_rows(args, row + i).address;
    std::byte* to = gather + i * args.k * size;
    if (args.k_stride == 1) {
      std::memcpy(to, from, static_cast<size_t>(args.k * size));
    } else {
      for (std::int64_t p = 0; p < args.k; ++p)
        std::memcpy(to + p * size, from + p * args.k_stride * size, static_cast<size_t>(size));
    }
  }
  return {gather, args.k * size, m, args.k, nullptr};
}

}  // namespace

void pack_rows(ThreadPool& pool, const PackRows& args) {
  const Kernel& kernel = *args.kernel;
  pool.parallel_for(ceil_div(args.m, kernel.mr), [&](std::int64_t panel, int thread) {
    const std::int64_t row = panel * kernel.mr;
    const int m = static_cast<int>(std::min<std::int64_t>(kernel.mr, args.m - row));
    PackA pack = one_block(args, row, m, args.gather + thread * args.gather_bytes);
    pack.dst = args.packed_a + panel * kernel.a_panel_bytes(args.k);
    kernel.pack_a(pack);
  });
}

void pack_few_rows(const PackRows& args, std::byte* packed_x) {
  PackA pack = one_block(args, 0, static_cast<int>(args.m), args.gather);
  pack.dst = packed_x;
  args.kernel->narrow.pack_x(pack);
}

bool narrow_applies(const Kernel& kernel, const Weight& weight, std::int64_t m) {
  if (m > kernel.narrow.rows || weight.packed || !weight.k_is_adjacent()) return false;
  if (!kernel.narrow_for(weight.stored)) return false;
  // Columns of int4 that start inside a byte, and groups that end inside a step, are left to the
  // packing.
  return (weight.stored != DType::kInt4 || weight.n_stride % 2 == 0) &&
         weight.group_size % kGroupUnit == 0;
}

namespace {

// The fields that are the same for all panels.
Narrow narrow_arguments(const Blocked& g, const std::byte* packed_x, std::byte* acc) {
  const Weight& weight = g.weight;
  Narrow narrow{};
  narrow.m = static_cast<int>(g.m);
  narrow.k = g.k;
  narrow.x = packed_x;
  narrow.stride_bytes = weight.n_stride * info(weight.stored).bits / 8;
  narrow.acc = acc;
  narrow.acc_stride_bytes = kAccBytes * g.kernel->nr;
  narrow.scale_step = weight.per_tensor ? 0 : 1;
  narrow.group_size = weight.group_size ? weight.group_size : g.k;
  narrow.group_stride = weight.per_tensor ? 0 : weight.n;
  return narrow;
}

// Columns from `col` on.
void move_to(Narrow& narrow, const Blocked& g, std::int64_t col) {
  const auto at = [](const void* base, std::int64_t bytes) {
    return base ? static_cast<const std::byte*>(base) + bytes : nullptr;
  };
  const std::int64_t scale_bytes = col * narrow.scale_step * info(g.kernel->b).bits / 8;
  narrow.n = static_cast<int>(std::min<std::int64_t>(g.kernel->nr, g.n - col));
  narrow.w = at(g.weight.data, col * narrow.stride_bytes);
  narrow.bias = at(g.bias, col * kAccBytes);
  narrow.scale = at(g.weight.scale, scale_bytes);
  narrow.offset = at(g.weight.offset, scale_bytes);
}

}  // namespace

bool run_narrow(ThreadPool& pool, const Blocked& g, const std::byte* packed_x) {
  const Kernel& kernel = *g.kernel;
  const NarrowFn run = kernel.narrow_for(g.weight.stored);
  // Panels per turn: a thread alone takes all at once, several take a few turns each so that they
  // end together.
  constexpr std::int64_t kTurns = 4;
  const std::int64_t all = ceil_div(g.n, kernel.nr), threads = pool.threads();
  const std::int64_t panels = threads == 1 ? all : ceil_div(all, kTurns * threads);
  std::atomic<bool> all_done{true};
  pool.parallel_for(ceil_div(all, panels), [&](std::int64_t turn, int thread) {
    if (kernel.narrow.enter) kernel.narrow.enter(static_cast<int>(g.m));
    std::byte* acc = g.scratch + thread * g.scratch_bytes;
    Narrow narrow = narrow_arguments(g, packed_x, acc);
    FinishedTile tile{};
    tile.m = narrow.m;
    tile.acc_stride_bytes = narrow.acc_stride_bytes;
    tile.acc = acc;
    tile.panel_columns = kernel.nr;
    const std::int64_t begin = turn * panels * kernel.nr;
    const std::int64_t end = std::min(g.n, begin + panels * kernel.nr);
    for (tile.col = begin; tile.col < end; tile.col += kernel.nr) {
      narrow.first = tile.col == begin;
      narrow.last = tile.col + kernel.nr >= end;
      move_to(narrow, g, tile.col);
      tile.n = narrow.n;
      if (run(narrow))
        g.epilogue.finish(g.epilogue.object, tile);
      else
        all_done.store(
            false, std::memory_order_relaxed);  // parallel_for returns after it: no partner needed
    }
    if (kernel.leave) kernel.leave();
    rows::stream_fence();
  });
  return all_done.load(std::memory_order_relaxed);
}

}  // namespace weft::gemm
