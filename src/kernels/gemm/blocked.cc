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
  return round_up(std::max(kernel.mr, kernel.narrow.rows) * k * info(kernel.a).bits / 8, 4096);
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
  if (m > kernel.narrow.rows || weight.packed || weight.nz_rows) return false;
  const bool along_n = !weight.k_is_adjacent();
  if (!kernel.narrow_for(weight.stored, along_n)) return false;
  // Columns (rows) of int4 that start inside a byte, and groups that end inside a step, are left to
  // the packing.
  const std::int64_t stride = along_n ? weight.k_stride : weight.n_stride;
  return (weight.stored != DType::kInt4 || stride % 2 == 0) && weight.group_size % kGroupUnit == 0;
}

namespace {

const std::byte* at(const void* base, std::int64_t bytes) {
  return base ? static_cast<const std::byte*>(base) + bytes : nullptr;
}

// Columns per strip of a weight of whole rows, of `columns` on a thread: what keeps the sums in L1
// and the scales in L2. All are about equally wide and of two panels, the most columns that such
// kernels take at a time.
std::int64_t strip_columns(const Blocked& g, std::int64_t columns) {
  constexpr std::int64_t kSumBytes = 16 << 10, kScaleBytes = 256 << 10;
  const std::int64_t unit = 2 * g.kernel->nr, column_sums = kAccBytes * g.m;
  const std::int64_t groups =
      g.weight.per_tensor || !g.weight.group_size ? 1 : ceil_div(g.k, g.weight.group_size);
  const std::int64_t column_scales =
      groups * (g.weight.offset ? 2 : 1) * info(g.kernel->b).bits / 8;
  const std::int64_t most = std::min(kSumBytes / column_sums, kScaleBytes / column_scales);
  const std::int64_t strips = ceil_div(columns, std::max(unit, most / unit * unit));
  return std::min(
      round_up(ceil_div(columns, strips), unit),
      std::max<std::int64_t>(g.kernel->nr, g.scratch_bytes / column_sums / unit * unit));
}

// One thread's way through the panels of a narrow product, or its strips.
class NarrowPanels {
 public:
  NarrowPanels(const Blocked& g, const std::byte* packed_x, std::int64_t columns,
               std::byte* scratch)
      : g_(g),
        along_n_(!g.weight.k_is_adjacent()),
        width_(along_n_ ? strip_columns(g, columns) : g.kernel->nr),
        scales_(scratch + round_up(kAccBytes * g.m * width_, kCacheLine)) {
    const Weight& weight = g.weight;
    narrow_.m = static_cast<int>(g.m);
    narrow_.k = g.k;
    narrow_.x = packed_x;
    narrow_.stride_bytes = bytes(weight.stored, along_n_ ? weight.k_stride : weight.n_stride);
    narrow_.acc = scratch;
    narrow_.acc_stride_bytes = kAccBytes * width_;
    narrow_.scale_step = weight.per_tensor ? 0 : 1;
    narrow_.group_size = weight.group_size ? weight.group_size : g.k;
    narrow_.group_stride = weight.per_tensor ? 0 : weight.n;
    if (!along_n_) choose_strip(scratch);
  }

  // The panels of columns [begin, end); what they refused is false.
  bool run(std::int64_t begin, std::int64_t end) {
    const NarrowFn multiply = g_.kernel->narrow_for(g_.weight.stored, along_n_);
    FinishedTile tile{};
    tile.m = narrow_.m;
    tile.acc = narrow_.acc;
    tile.acc_stride_bytes = narrow_.acc_stride_bytes;
    tile.panel_columns = static_cast<int>(width_);
    bool done = true;
    for (tile.col = begin; tile.col < end; tile.col += width_) {
      tile.n = static_cast<int>(std::min(width_, end - tile.col));
      narrow_.n = tile.n;
      narrow_.first = tile.col == begin;
      narrow_.last = tile.col + width_ >= end;
      narrow_.w = at(g_.weight.data, along_n_ ? bytes(g_.weight.stored, tile.col)
                                              : tile.col * narrow_.stride_bytes);
      narrow_.bias = at(g_.bias, tile.col * kAccBytes);
      point_at_scales(begin, end, tile.col);
      if (multiply(narrow_))
        g_.epilogue.finish(g_.epilogue.object, tile);
      else
        done = false;
    }
    return done;
  }

 private:
  static std::int64_t bytes(DType type, std::int64_t count) { return count * info(type).bits / 8; }

  // The scales of a panel are a line or two of every row of groups, each in a page of its own, and
  // few of those pages are in the TLB: 60 ns a row. So they are copied for some panels at a time.
  void choose_strip(const std::byte* scratch) {
    const std::int64_t groups = ceil_div(g_.k, narrow_.group_size);
    if (narrow_.group_stride == 0 || groups == 1) return;
    const std::int64_t rows = groups * (g_.weight.offset ? 2 : 1);
    const std::int64_t room = scratch + g_.scratch_bytes - scales_;
    constexpr std::int64_t kPanels = 32, kMostBytes = 128 << 10;  // more gain little
    const std::int64_t panel = rows * bytes(g_.kernel->b, g_.kernel->nr);
    strip_ = std::min({kPanels, room / panel, kMostBytes / panel}) * g_.kernel->nr;
    if (strip_) narrow_.group_stride = strip_;
  }

  void point_at_scales(std::int64_t begin, std::int64_t end, std::int64_t col) {
    const DType type = g_.kernel->b;
    if (strip_ == 0) {
      const std::int64_t offset = bytes(type, col * narrow_.scale_step);
      narrow_.scale = at(g_.weight.scale, offset);
      narrow_.offset = at(g_.weight.offset, offset);
      return;
    }
    const std::int64_t in_strip = (col - begin) % strip_;
    const std::int64_t rows = ceil_div(g_.k, narrow_.group_size), row = bytes(type, strip_);
    if (in_strip == 0) {
      const std::int64_t columns = std::min({strip_, end - col, g_.n - col});
      copy_strip(g_.weight.scale, col, columns, rows, scales_);
      if (g_.weight.offset) copy_strip(g_.weight.offset, col, columns, rows, scales_ + rows * row);
    }
    narrow_.scale = scales_ + bytes(type, in_strip);
    narrow_.offset = g_.weight.offset ? scales_ + rows * row + bytes(type, in_strip) : nullptr;
  }

  void copy_strip(const void* from, std::int64_t col, std::int64_t columns, std::int64_t rows,
                  std::byte* to) const {
    const DType type = g_.kernel->b;
    for (std::int64_t r = 0; r < rows; ++r)
      std::memcpy(to + bytes(type, r * strip_), at(from, bytes(type, r * g_.weight.n + col)),
                  static_cast<size_t>(bytes(type, columns)));
  }

  const Blocked& g_;
  const bool along_n_;
  const std::int64_t width_;  // columns of a panel or strip
  std::byte* const scales_;
  std::int64_t strip_ = 0;  // columns; 0: scales are used where they are
  Narrow narrow_{};
};

}  // namespace

bool run_narrow(ThreadPool& pool, const Blocked& g, const std::byte* packed_x) {
  const Kernel& kernel = *g.kernel;
  // A thread alone takes all columns at once, several take a few turns each so that they end
  // together; not as many where rows are read in place and long pieces of them are faster.
  const std::int64_t turns = pool.threads() * (g.weight.k_is_adjacent() ? 4 : 2);
  const std::int64_t unit = (g.weight.k_is_adjacent() ? 1 : 2) * std::int64_t{kernel.nr};
  const std::int64_t columns = round_up(pool.threads() == 1 ? g.n : ceil_div(g.n, turns), unit);
  std::atomic<bool> all_done{true};
  pool.parallel_for(ceil_div(g.n, columns), [&](std::int64_t turn, int thread) {
    if (kernel.narrow.enter) kernel.narrow.enter(static_cast<int>(g.m));
    NarrowPanels panels(g, packed_x, columns, g.scratch + thread * g.scratch_bytes);
    if (!panels.run(turn * columns, std::min(g.n, (turn + 1) * columns)))
      all_done.store(
          false, std::memory_order_relaxed);  // parallel_for returns after it: no partner needed
    if (kernel.leave) kernel.leave();
    rows::stream_fence();
  });
  return all_done.load(std::memory_order_relaxed);
}

}  // namespace weft::gemm
