// SPDX-License-Identifier: Apache-2.0
// What the narrow AMX kernels share. They compute the transposed product: 16 rows of the caller's
// weight x 64 bytes of k are one tile of A as they lie in memory, so the weight is neither copied
// nor transposed; at most 16 rows of x1, packed once, are the tiles of B. Two tiles of C^T (32
// columns) stay in tmm0-1 over all of k. tmm4 (and 5) hold x, tmm6-7 the weight.
// The bits are those of the ordinary kernels: a product does not depend on the order of its
// factors, and the sums of a k step and the order of the steps are the same.
// The tile loads alone run nearly at the speed of reading: 32 rows, each a stream of its own, come
// as fast from memory as a few long ones, although rows 4 KiB apart share one set of L1 (a line is
// used once, by one load). What was tried on Sapphire Rapids: 64 rows at once are 5-10 % slower;
// how far ahead and into which cache to fetch changes little, but without it weights in L3 are 5 %
// slower, and float16 needs the fetches spread over the step.
#pragma once

#include "kernels/gemm/x86_amx.h"

namespace weft::gemm {
namespace {

/// The first values of C^T into tmm0-1: zero, or a row of bias[j] each.
template <bool kLower>
inline void load_narrow_c(const Narrow& p) {
  if (!p.bias) {
    _tile_zero(0);
    if constexpr (kLower) _tile_zero(1);
    return;
  }
  alignas(64) std::byte c[2 * kTileBytes];
  const auto* bias = static_cast<const std::int32_t*>(p.bias);  // bits, whatever the type
  for (int j = 0; j < (kLower ? 2 : 1) * kTileRows; ++j)
    _mm512_store_si512(c + j * kLineBytes, _mm512_set1_epi32(bias[j]));
  stores_are_visible();
  _tile_loadd(0, c, kLineBytes);
  if constexpr (kLower) _tile_loadd(1, c + kTileBytes, kLineBytes);
}

/// C^T from tmm0-1 to memory, dense.
template <bool kLower>
inline void store_narrow_c(std::byte* c) {
  _tile_stored(0, c, kLineBytes);
  if constexpr (kLower) _tile_stored(1, c + kTileBytes, kLineBytes);
  stores_are_visible();
}

/// The m rows of acc from C^T.
template <bool kLower>
inline void write_acc(const Narrow& p, const std::byte* c) {
  alignas(64) std::byte rows[kTileBytes];
  for (int half = 0; half < (kLower ? 2 : 1); ++half) {
    transpose_tile(c + half * kTileBytes, kLineBytes, rows);
    std::byte* acc = bytes(p.acc) + half * kLineBytes;
    for (int i = 0; i < p.m; ++i, acc += p.acc_stride_bytes)
      _mm512_storeu_si512(acc, _mm512_load_si512(rows + i * kLineBytes));
  }
}

/// What to fetch beside the bytes of every row from `done` on: kNarrowAheadBytes further along the
/// row, and where it ends, in the row that follows in the next panel; but if a panel lies in 16
/// pages or fewer, the next panel in the order of its addresses: twice as many pages at once are
/// too many for the hardware prefetcher, which otherwise does most of the work (2 KiB rows: 3.5 ns
/// a line against 4.4; 4 KiB rows: 4.4 against 4.2). Into L2 and no further: lines for L1 would
/// push each other out.
struct NarrowFetch {
  const std::byte* at;
  std::int64_t stride;  ///< from row to row
};
template <bool kLower>
inline NarrowFetch fetch_beside(const Narrow& p, std::int64_t done, std::int64_t row_bytes,
                                std::int64_t bytes_of_row) {
  constexpr std::int64_t kAheadBytes = 512, kFewPages = 64 << 10;
  constexpr std::int64_t kRows = (kLower ? 2 : 1) * kTileRows;
  const std::byte* w = bytes(p.w) + done;
  if (!p.first && p.stride_bytes == row_bytes && kRows * row_bytes <= kFewPages)
    return {w - done + kRows * (row_bytes + done), bytes_of_row};
  if (done + kAheadBytes < row_bytes) return {w + kAheadBytes, p.stride_bytes};
  return {w + kAheadBytes - row_bytes + kRows * p.stride_bytes, p.stride_bytes};
}
inline void fetch_narrow(const std::byte* line) {
  _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
}
inline void fetch_tile(const NarrowFetch& fetch, int first) {
  for (int r = 0; r < kTileRows; ++r) fetch_narrow(fetch.at + (first + r) * fetch.stride);
}

/// 64 bytes of every row from `done` on, as tiles; zero beyond n and the end of the row.
template <bool kLower>
inline void copy_edge(const Narrow& p, std::int64_t done, std::int64_t row_bytes, std::byte* edge) {
  const std::byte* src = bytes(p.w) + done;
  for (int j = 0; j < (kLower ? 2 : 1) * kTileRows; ++j)
    _mm512_store_si512(
        edge + j * kLineBytes,
        j < p.n ? load_line(src + j * p.stride_bytes, row_bytes - done) : _mm512_setzero_si512());
  stores_are_visible();
}

/// Elements that AMX multiplies as they are. Dot: the instruction, upper() and lower().
template <class Dot, bool kLower>
inline void multiply_narrow(const Narrow& p, std::int64_t row_bytes) {
  const std::byte* x = bytes(p.x);
  const std::int64_t x_row = 4 * p.m, x_tile = kTileRows * x_row;
  const std::byte* w = bytes(p.w);
  const std::int64_t lower = kTileRows * p.stride_bytes;
  const bool all_rows = p.n == (kLower ? 2 : 1) * kTileRows;
  const std::int64_t whole = all_rows ? row_bytes / kLineBytes * kLineBytes : 0;
  alignas(64) std::byte edge[2 * kTileBytes], c[2 * kTileBytes];
  load_narrow_c<kLower>(p);
  std::int64_t done = 0;
  for (; done < whole; done += kLineBytes, x += x_tile) {
    const std::byte* upper = w + done;
    const NarrowFetch fetch = fetch_beside<kLower>(p, done, row_bytes, kLineBytes);
    fetch_tile(fetch, 0);
    _tile_loadd(4, x, x_row);
    _tile_loadd(6, upper, p.stride_bytes);
    if constexpr (kLower) fetch_tile(fetch, kTileRows);
    if constexpr (kLower) _tile_loadd(7, upper + lower, p.stride_bytes);
    Dot::upper();
    if constexpr (kLower) Dot::lower();
  }
  for (; done < row_bytes; done += kLineBytes, x += x_tile) {
    copy_edge<kLower>(p, done, row_bytes, edge);
    _tile_loadd(4, x, x_row);
    _tile_loadd(6, edge, kLineBytes);
    if constexpr (kLower) _tile_loadd(7, edge + kTileBytes, kLineBytes);
    Dot::upper();
    if constexpr (kLower) Dot::lower();
  }
  store_narrow_c<kLower>(c);
  write_acc<kLower>(p, c);
}

template <class Dot>
inline void multiply_narrow(const Narrow& p, std::int64_t row_bytes) {
  stores_are_visible();
  p.n <= kTileRows ? multiply_narrow<Dot, false>(p, row_bytes)
                   : multiply_narrow<Dot, true>(p, row_bytes);
}

/// 16 lines of 64 bytes, of which m matter, as one dense tile of B: [4 bytes of a line][m lines].
/// With few rows all of x then stays in L1, and nothing is multiplied that is not wanted. Returns
/// where the next tile begins.
inline std::byte* store_x_tile(const std::byte* lines, int m, std::byte* dst) {
  alignas(64) std::byte tile[kTileBytes];
  transpose_tile(lines, kLineBytes, tile);
  const auto mask = static_cast<__mmask16>(low_bits(m));
  for (int r = 0; r < kTileRows; ++r, dst += 4 * m)
    _mm512_mask_storeu_epi32(dst, mask, _mm512_load_si512(tile + r * kLineBytes));
  return dst;
}

/// Rows of x1 as tiles of B, one per 64 bytes.
inline void pack_x_lines(const PackA& p, std::int64_t row_bytes) {
  alignas(64) std::byte lines[kTileBytes];
  std::byte* dst = bytes(p.dst);
  for (std::int64_t done = 0; done < row_bytes; done += kLineBytes) {
    const std::byte* src = bytes(p.src) + done;
    for (int i = 0; i < kTileRows; ++i, src += p.stride_bytes)
      _mm512_store_si512(lines + i * kLineBytes,
                         i < p.m ? load_line(src, row_bytes - done) : _mm512_setzero_si512());
    dst = store_x_tile(lines, p.m, dst);
  }
}

}  // namespace
}  // namespace weft::gemm
