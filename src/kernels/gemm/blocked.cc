// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/blocked.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/memory.h"
#include "base/topology.h"
#include "kernels/gemm/batch.h"

namespace weft::gemm {
namespace {

std::int64_t tile_bytes(const Kernel& kernel) { return kAccBytes * kernel.mr * kernel.nr; }

// Panels of a block of columns, of all sides. A weight packed by the caller has its panels at
// multiples of nr, wherever a side begins: a block of the second may then touch one more.
std::int64_t most_panels(const Kernel& kernel, const Weight& weight, const Blocking& blocking) {
  return blocking.sides * (blocking.nc / kernel.nr + (weight.packed && blocking.sides > 1 ? 1 : 0));
}

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
                       std::int64_t rows, std::int64_t k) {
  const std::int64_t panels = most_panels(kernel, weight, blocking);
  Scratch layout{};
  if (!weight.packed)
    layout.strip = round_up(block_bytes(kernel, blocking, blocking.ks, panels), kCacheLine);
  layout.acc = layout.strip +
               round_up(pack_scratch_bytes(kernel, weight, blocking.kc, blocking.nc), kCacheLine);
  // One pass over k needs the tiles of one panel of rows; several passes keep them all.
  const std::int64_t row_panels = blocking.ks >= k ? 1 : ceil_div(rows, kernel.mr);
  layout.bytes = round_up(layout.acc + row_panels * panels * tile_bytes(kernel), 4096);
  return layout;
}

// Columns of one side of a block.
struct Side {
  std::int64_t column;  // of the weight, where the first panel begins
  std::int64_t shift;   // of the block's first column in that panel
  std::int64_t panels;
  std::int64_t before;  // panels of the sides before this one
};

// The product of one block, on one thread.
class Block {
 public:
  Block(const Batch& batch, const BlockOf& block, std::byte* scratch)
      : g_(batch),
        kernel_(*batch.kernel),
        product_(batch.products[static_cast<size_t>(block.product)]),
        block_(block),
        scratch_(scratch),
        layout_(scratch_layout(kernel_, product_.weight, batch.blocking, block.m, batch.k)),
        nc_(std::min(batch.blocking.nc, batch.n - block.n0)) {
    for (int i = 0; i < g_.blocking.sides; ++i) {
      Side& side = sides_[static_cast<size_t>(i)];
      side.column = i * g_.n + block.n0;
      if (product_.weight.packed) side.shift = side.column % kernel_.nr;
      side.column -= side.shift;
      side.panels = ceil_div(side.shift + nc_, kernel_.nr);
      side.before = panels_;
      panels_ += side.panels;
    }
  }

  void run() {
    const std::int64_t row_panels = ceil_div(block_.m, kernel_.mr);
    if (g_.k == 0) {
      for (std::int64_t i = 0; i < row_panels; ++i) bias_alone(i);
      return;
    }
    for (std::int64_t k0 = 0; k0 < g_.k; k0 += g_.blocking.ks) {
      const std::int64_t ks = std::min(g_.blocking.ks, g_.k - k0);
      if (!product_.weight.packed) pack(k0, ks);
      for (std::int64_t i = 0; i < row_panels; ++i) {
        multiply(i, k0, ks);
        if (k0 + ks == g_.k) finish(i);
      }
    }
  }

 private:
  std::span<const Side> sides() const {
    return {sides_.data(), static_cast<size_t>(g_.blocking.sides)};
  }

  void pack(std::int64_t k0, std::int64_t ks) {
    std::byte* chunk = scratch_;
    for (std::int64_t k = 0; k < ks; k += g_.blocking.kc) {
      const std::int64_t kc = std::min(g_.blocking.kc, ks - k), panel = kernel_.b_panel_bytes(kc);
      for (const Side& side : sides())
        pack_block(kernel_, *g_.rows, product_.weight, {k0 + k, kc, side.column, nc_},
                   chunk + side.before * panel, panel, scratch_ + layout_.strip);
      chunk += panels_ * panel;
    }
  }

  // The packed panels of a side of the chunk at k0 + k.
  const std::byte* chunk(const Side& side, std::int64_t k0, std::int64_t k, std::int64_t kc) const {
    // Of every chunk before this one.
    const std::int64_t whole = kernel_.b_panel_bytes(g_.blocking.kc);
    const std::int64_t panel = kernel_.b_panel_bytes(kc), index = (k0 + k) / g_.blocking.kc;
    const Weight& weight = product_.weight;
    if (!weight.packed)
      return scratch_ + k / g_.blocking.kc * panels_ * whole + side.before * panel;
    return weight.packed + index * ceil_div(g_.blocking.sides * g_.n, kernel_.nr) * whole +
           side.column / kernel_.nr * panel;
  }

  std::byte* acc(std::int64_t i, const Side& side) const {
    const std::int64_t row_panel = g_.blocking.ks >= g_.k ? 0 : i;
    return scratch_ + layout_.acc + (row_panel * panels_ + side.before) * tile_bytes(kernel_);
  }
  const std::byte* bias(const Side& side, std::int64_t panel) const {
    if (!product_.bias) return nullptr;
    return static_cast<const std::byte*>(product_.bias) +
           (side.column + panel * kernel_.nr) * kAccBytes;
  }

  // One panel of rows, rows [k0, k0 + ks) of k, all columns of the block. Fields of the tile are
  // written one by one: copying it whole would wait for the stores of the tile before (measured:
  // -40% on short tiles).
  void multiply(std::int64_t i, std::int64_t k0, std::int64_t ks) {
    const std::byte* a =
        product_.packed + (block_.row / kernel_.mr + i) * kernel_.a_panel_bytes(g_.k);
    const std::int64_t a_row = std::int64_t{kernel_.mr} * kernel_.a_bytes;
    Tile tile{};
    tile.m = static_cast<int>(std::min<std::int64_t>(kernel_.mr, block_.m - i * kernel_.mr));
    tile.a_header = a;
    tile.acc_stride_bytes = kAccBytes * kernel_.nr;
    for (std::int64_t k = 0; k < ks; k += g_.blocking.kc) {
      const std::int64_t kc = std::min(g_.blocking.kc, ks - k), panel = kernel_.b_panel_bytes(kc);
      tile.k = kernel_.padded_k(kc);
      tile.a = a + kernel_.a_header_bytes + (k0 + k) * a_row;
      tile.first = k0 + k == 0;
      // What comes next of A, fetched piece by piece while this chunk is multiplied.
      const bool last_chunk = k + kc == ks, last_panel = (i + 1) * kernel_.mr >= block_.m;
      const std::byte* next =
          last_chunk ? a + kernel_.a_panel_bytes(g_.k) + kernel_.a_header_bytes + k0 * a_row
                     : static_cast<const std::byte*>(tile.a) + tile.k * a_row;
      tile.ahead_bytes =
          last_chunk && last_panel ? 0 : round_up(tile.k * a_row / panels_, kCacheLine);
      for (const Side& side : sides()) {
        const std::byte* b = chunk(side, k0, k, kc);
        std::byte* const c = acc(i, side);
        for (std::int64_t j = 0; j < side.panels; ++j) {
          tile.b = b + j * panel;
          tile.acc = c + j * tile_bytes(kernel_);
          tile.bias = bias(side, j);
          tile.ahead = tile.ahead_bytes ? next + (side.before + j) * tile.ahead_bytes : nullptr;
          kernel_.tile(tile);
        }
      }
    }
  }

  // An empty sum: C is the bias, or zero.
  void bias_alone(std::int64_t i) {
    const auto bytes = static_cast<size_t>(kernel_.nr * kAccBytes);
    for (const Side& side : sides())
      for (std::int64_t j = 0; j < side.panels * kernel_.mr; ++j) {
        std::byte* row = acc(i, side) + j * static_cast<std::int64_t>(bytes);
        if (product_.bias)
          std::memcpy(row, bias(side, j / kernel_.mr), bytes);
        else
          std::memset(row, 0, bytes);
      }
    finish(i);
  }

  // Moves the columns of a side to the beginning of its panels.
  void straighten(std::int64_t i, const Side& side, int m) {
    const std::int64_t nr = kernel_.nr;
    for (int r = 0; r < m; ++r) {
      std::byte* const row = acc(i, side) + r * nr * kAccBytes;
      const auto at = [&](std::int64_t j) {
        return row + j / nr * tile_bytes(kernel_) + j % nr * kAccBytes;
      };
      for (std::int64_t j = 0, run; j < nc_; j += run) {
        run = std::min({nc_ - j, nr - j % nr, nr - (j + side.shift) % nr});
        std::memmove(at(j), at(j + side.shift), static_cast<size_t>(run * kAccBytes));
      }
    }
  }

  void finish(std::int64_t i) {
    const std::int64_t row = block_.row + i * kernel_.mr;
    const int m = static_cast<int>(std::min<std::int64_t>(kernel_.mr, block_.m - i * kernel_.mr));
    for (const Side& side : sides())
      if (side.shift > 0) straighten(i, side, m);
    g_.epilogue.finish(g_.epilogue.object,
                       {block_.product, row, block_.n0, m, static_cast<int>(nc_), acc(i, sides_[0]),
                        kAccBytes * kernel_.nr, kernel_.nr, tile_bytes(kernel_),
                        g_.blocking.sides > 1 ? acc(i, sides_[1]) : nullptr});
  }

  const Batch& g_;
  const Kernel& kernel_;
  const Product& product_;
  const BlockOf block_;
  std::byte* scratch_;
  const Scratch layout_;
  const std::int64_t nc_;
  std::array<Side, kMostSides> sides_{};
  std::int64_t panels_ = 0;  // of all sides
};

// How many of the chunks of k make a block, if `half` bytes are for it.
std::int64_t chunks_of_block(const Kernel& kernel, std::int64_t kc, std::int64_t chunks,
                             std::int64_t half) {
  std::int64_t blocks;
  if (loads_past_l1(kernel)) {
    constexpr std::int64_t kDepthBytes = 2048;  // of one column: 1024 rows of 16 bits, 2048 of 8
    const std::int64_t depth = std::max(kDepthBytes / std::min(kernel.b_bytes, 2), kc);
    blocks = ceil_div(chunks * kc, depth + depth / 4);  // no short last block
  } else {
    // For each product of two elements a_bytes / nc are read of A, and 2 · kAccBytes / ks read and
    // written of C, from L3 or memory; nc · ks is given, so the sum is least where they are equal.
    const double depth =
        std::sqrt(2.0 * kAccBytes * static_cast<double>(half) / (kernel.a_bytes * kernel.b_bytes));
    const std::int64_t wanted = std::llround(depth / static_cast<double>(kc));
    blocks = ceil_div(chunks, std::max<std::int64_t>(1, wanted));
  }
  return ceil_div(chunks, blocks);
}

}  // namespace

Caches machine_caches() {
  const Topology& t = topology();
  return {t.l1d_bytes > 0 ? t.l1d_bytes : 32 << 10, t.l2_bytes > 0 ? t.l2_bytes : 1 << 20};
}

bool loads_past_l1(const Kernel& kernel) {
  return (kernel.isa & (isa::kAmxBf16 | isa::kAmxInt8)) != 0;
}

std::int64_t choose_chunk(const Kernel& kernel, std::int64_t k, const Caches& caches) {
  const std::int64_t l1 = caches.l1_bytes;
  const std::int64_t a_step = std::int64_t{kernel.mr} * kernel.k_step * kernel.a_bytes;
  const std::int64_t b_step = std::int64_t{kernel.nr} * kernel.k_step * kernel.b_bytes;
  // L1 holds the chunk of A, the next one, which is being fetched, and the panel of B. AMX loads B
  // and C past it, so a chunk of A takes two thirds (half where elements have 4 bytes, whose panels
  // of B are twice as large): longer chunks fall out of it, shorter ones load and store C more
  // often.
  const std::int64_t most = loads_past_l1(kernel)
                                ? (kernel.a_bytes == 4 ? l1 / 2 : l1 * 2 / 3) / a_step
                                : l1 / (2 * a_step + b_step);
  const std::int64_t steps = std::max<std::int64_t>(1, most);
  const std::int64_t all = kernel.padded_k(std::max<std::int64_t>(k, 1)) / kernel.k_step;
  return ceil_div(all, ceil_div(all, steps)) * kernel.k_step;  // chunks of about equal length
}

Blocking choose_blocking(const Kernel& kernel, const Weight& weight, std::int64_t n, std::int64_t k,
                         int threads, const Caches& caches, int sides) {
  Blocking blocking{};
  blocking.sides = sides;
  blocking.kc = weight.packed ? weight.packed_kc : choose_chunk(kernel, k, caches);
  // Half of L2 for the packed block; the rest is for A, C and what the callback writes.
  const std::int64_t half = caches.l2_bytes / 2;
  const std::int64_t chunks = ceil_div(kernel.padded_k(std::max<std::int64_t>(k, 1)), blocking.kc);
  blocking.ks = chunks_of_block(kernel, blocking.kc, chunks, half) * blocking.kc;
  // Every thread gets a block of columns, and the blocks are about equally wide.
  const std::int64_t panel_row = std::int64_t{kernel.nr} * kernel.b_bytes;
  const std::int64_t panels = std::max<std::int64_t>(1, half / (sides * panel_row * blocking.ks));
  const std::int64_t all = std::max<std::int64_t>(1, ceil_div(n, kernel.nr));
  const std::int64_t sharers = std::min<std::int64_t>(threads, all);
  blocking.nc = ceil_div(all, round_up(ceil_div(all, panels), sharers)) * kernel.nr;
  return blocking;
}

std::int64_t blocked_scratch_bytes(const Kernel& kernel, const Weight& weight,
                                   const Blocking& blocking, std::int64_t rows, std::int64_t k) {
  return scratch_layout(kernel, weight, blocking, rows, k).bytes;
}

void multiply_block(const Batch& batch, const BlockOf& block, std::byte* scratch) {
  Block(batch, block, scratch).run();
}

}  // namespace weft::gemm
