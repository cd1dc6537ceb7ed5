// SPDX-License-Identifier: Apache-2.0
// What the AMX kernels share. All of them keep 2 x 2 tiles of C in tmm0-3 (tmm0 tmm1 over tmm2
// tmm3, 16 x 16 elements of 4 bytes each), two tiles of A in tmm4-5 and two of B in tmm6-7. A tile
// of A or B is 1 KiB: 16 rows of 64 bytes, one after the other, so that a tile load touches 16
// whole lines. Callers keep one panel of A and walk the panels of B with it. A's part of one k
// block (32 KiB: 512 k of 2 bytes) then stays in L1 if what passes by only once, B and C, is loaded
// with TILELOADDT1, which leaves L1 alone: 2.2 TFLOP/s against 1.7 for bfloat16 with B in L2 on
// Sapphire Rapids. Software prefetching of B into L1 lost in all forms that were tried.
// C is fastest where its rows are 128 bytes apart; at 8192 bytes all rows share one set of L1, and
// a tile of 256 k takes twice as long. A Tile is read field by field and never copied: a wide load
// of fields that were stored one by one waits until the tile stores of the call before have
// drained. Everything here is in an anonymous namespace: each file compiles its own copy with its
// own flags.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/intrinsics.h"
#include "kernels/gemm/gemm.h"

namespace weft::gemm {
namespace {

constexpr int kTileBytes = 1024;
constexpr int kLineBytes = 64;
constexpr int kTileRows = 16;

inline const std::byte* bytes(const void* p) { return static_cast<const std::byte*>(p); }
inline std::byte* bytes(void* p) { return static_cast<std::byte*>(p); }
inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// The lowest `count` bits, count 0..64.
inline std::uint64_t low_bits(std::int64_t count) {
  if (count <= 0) return 0;
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

// The compiler's tile loads do not say that they read memory, so stores before them must be done.
inline void stores_are_visible() { __asm__ volatile("" ::: "memory"); }

/// C into tmm0-3: zero, the bias in every row (a stride of 0 repeats it), or what acc holds.
template <bool kLower>
inline void load_c(const Tile& tile) {
  if (tile.first && !tile.bias) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kLower) {
      _tile_zero(2);
      _tile_zero(3);
    }
    return;
  }
  const std::byte* c = bytes(tile.first ? tile.bias : tile.acc);
  const std::int64_t stride = tile.first ? 0 : tile.acc_stride_bytes;
  _tile_stream_loadd(0, c, stride);
  _tile_stream_loadd(1, c + kLineBytes, stride);
  if constexpr (kLower) {
    _tile_stream_loadd(2, c + kTileRows * stride, stride);
    _tile_stream_loadd(3, c + kTileRows * stride + kLineBytes, stride);
  }
}

template <bool kLower>
inline void store_c(const Tile& tile) {
  std::byte* c = bytes(tile.acc);
  const std::int64_t stride = tile.acc_stride_bytes;
  _tile_stored(0, c, stride);
  _tile_stored(1, c + kLineBytes, stride);
  if constexpr (kLower) {
    _tile_stored(2, c + kTileRows * stride, stride);
    _tile_stored(3, c + kTileRows * stride + kLineBytes, stride);
  }
}

/// Brings four rows of C back into L1, where B and A have pushed it out, just before it is stored:
/// a store that has to wait for its line holds up the loads of the next tile. All 32 rows at once
/// would stall as well. Returns the rows that follow.
constexpr int kWarmRows = 4;
inline const std::byte* warm_c(const std::byte* c, std::int64_t stride) {
  for (int i = 0; i < kWarmRows; ++i, c += stride) {
    _mm_prefetch(reinterpret_cast<const char*>(c), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(c + kLineBytes), _MM_HINT_T0);
  }
  return c;
}

/// Fetches what the caller wants ahead into L2, a few lines a turn: evenly, because a burst of
/// prefetches takes the fill buffers that the tile loads need. Blocks of A that come from memory
/// like this cost 7 % less (bfloat16, 32x512 blocks) to 17 % less (float16, 32x192); in bursts
/// between the tile calls they cost more than without.
class Ahead {
 public:
  Ahead(const Tile& tile, std::int64_t turns)
      : next_(bytes(tile.ahead)),
        end_(next_ + tile.ahead_bytes),
        per_turn_((tile.ahead_bytes + turns * kLineBytes - 1) / (turns * kLineBytes) * kLineBytes) {
  }
  void turn() {
    const std::byte* until = end_ - next_ < per_turn_ ? end_ : next_ + per_turn_;
    for (; next_ < until; next_ += kLineBytes)
      _mm_prefetch(reinterpret_cast<const char*>(next_), _MM_HINT_T1);
  }

 private:
  const std::byte *next_, *end_;
  std::int64_t per_turn_;
};

/// The tile of elements that AMX multiplies as they are. Dot: kStep, the rows of k in a tile, and
/// the instruction on each pair of a tile of A (4 upper, 5 lower) and one of B (6 left, 7 right).
template <class Dot, bool kLower>
inline void multiply_tile(const Tile& tile) {
  constexpr std::int64_t kStepBytes = 2 * kTileBytes;
  const std::byte* a = bytes(tile.a);
  const std::byte* b = bytes(tile.b);
  const std::byte* c = bytes(tile.acc);
  const std::int64_t warm_from = tile.k - (kLower ? 2 : 1) * kTileRows / kWarmRows * Dot::kStep;
  Ahead ahead(tile, tile.k / Dot::kStep);
  load_c<kLower>(tile);
  for (std::int64_t p = 0; p < tile.k; p += Dot::kStep, a += kStepBytes, b += kStepBytes) {
    if (p >= warm_from) c = warm_c(c, tile.acc_stride_bytes);
    ahead.turn();
    _tile_stream_loadd(6, b, kLineBytes);
    _tile_loadd(4, a, kLineBytes);
    _tile_stream_loadd(7, b + kTileBytes, kLineBytes);
    if constexpr (kLower) _tile_loadd(5, a + kTileBytes, kLineBytes);
    Dot::upper_left();
    if constexpr (kLower) Dot::lower_left();
    Dot::upper_right();
    if constexpr (kLower) Dot::lower_right();
  }
  store_c<kLower>(tile);
}

template <class Dot>
inline void multiply_tile(const Tile& tile) {
  stores_are_visible();
  tile.m <= kTileRows ? multiply_tile<Dot, false>(tile) : multiply_tile<Dot, true>(tile);
}

/// Four 128-bit pieces, `step` bytes apart, in one register. Loads that insert are not shuffles:
/// they take any vector port, and the shuffle port is what limits a transposition.
inline __m512i load_quarters(const std::byte* src, std::int64_t step) {
  const auto piece = [&](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i * step));
  };
  __m512i r = _mm512_castsi128_si512(piece(0));
  r = _mm512_inserti32x4(r, piece(1), 1);
  r = _mm512_inserti32x4(r, piece(2), 2);
  return _mm512_inserti32x4(r, piece(3), 3);
}

/// dst[q][r] = src[r][q] for 16 x 16 elements of 4 bytes; dst is one tile (64-byte aligned).
inline void transpose_tile(const std::byte* src, std::int64_t stride, std::byte* dst) {
  for (int quarter = 0; quarter < 4; ++quarter) {
    const std::byte* from = src + 16 * quarter;
    const __m512i r0 = load_quarters(from, 4 * stride);  // rows 0 4 8 12
    const __m512i r1 = load_quarters(from + stride, 4 * stride);
    const __m512i r2 = load_quarters(from + 2 * stride, 4 * stride);
    const __m512i r3 = load_quarters(from + 3 * stride, 4 * stride);
    const __m512i low01 = _mm512_unpacklo_epi32(r0, r1), high01 = _mm512_unpackhi_epi32(r0, r1);
    const __m512i low23 = _mm512_unpacklo_epi32(r2, r3), high23 = _mm512_unpackhi_epi32(r2, r3);
    std::byte* to = dst + 4 * quarter * kLineBytes;
    _mm512_store_si512(to, _mm512_unpacklo_epi64(low01, low23));
    _mm512_store_si512(to + kLineBytes, _mm512_unpackhi_epi64(low01, low23));
    _mm512_store_si512(to + 2 * kLineBytes, _mm512_unpacklo_epi64(high01, high23));
    _mm512_store_si512(to + 3 * kLineBytes, _mm512_unpackhi_epi64(high01, high23));
  }
}

/// Rows of the source that pack_b takes at once. The sources of neighbouring rows are far apart, so
/// this many streams of 64-byte columns keep more lines under way than one pair of rows at a time:
/// 10 GB/s against 7 from memory on Sapphire Rapids, without prefetching.
constexpr int kRowsTogether = 16;

/// Up to 64 bytes, zero beyond; memory beyond `count` bytes is not touched.
inline __m512i load_line(const std::byte* src, std::int64_t count) {
  return _mm512_maskz_loadu_epi8(low_bits(count), src);
}

/// Rows of `row_bytes` as a panel of tiles of A: line r of tile (r / 16) of every k step, the tiles
/// of a k step `step_bytes` after those of the one before. Rows from m to mr become zero.
/// Element types of 1 and 2 bytes differ in nothing but the length of a row.
inline void pack_a_lines(const PackA& p, std::int64_t row_bytes) {
  constexpr int kRows = 2 * kTileRows;
  constexpr std::int64_t kStepBytes = 2 * kTileBytes;
  std::byte* dst = bytes(p.dst);
  for (std::int64_t done = 0; done < row_bytes; done += kLineBytes, dst += kStepBytes) {
    const std::byte* src = bytes(p.src) + done;
    const std::int64_t count = row_bytes - done;
    for (int i = 0; i < kRows; ++i, src += p.stride_bytes)
      _mm512_store_si512(dst + i * kLineBytes,
                         i < p.m ? load_line(src, count) : _mm512_setzero_si512());
  }
}

/// Fetches what pack_bt reads kAheadBytes later on its way: along `count` rows, then along the
/// next. Left alone, the hardware prefetcher starts anew in every row: 10-15 % slower.
constexpr std::int64_t kAheadBytes = 256;
inline void fetch_rows(const std::byte* rows, int count, std::int64_t stride, std::int64_t done,
                       std::int64_t row_bytes) {
  const std::int64_t soon = done + kAheadBytes;
  const std::byte* src = rows + (soon < row_bytes ? soon : count * stride + soon - row_bytes);
  for (int r = 0; r < count; ++r, src += stride)
    _mm_prefetch(reinterpret_cast<const char*>(src), _MM_HINT_T0);
}

/// src[j, p] with adjacent p: every 16 rows x 64 bytes become one tile [4 bytes of p][16 rows].
inline void pack_bt_lines(const PackB& p, std::int64_t row_bytes, std::int64_t first_byte) {
  constexpr std::int64_t kStepBytes = 2 * kTileBytes;
  alignas(64) std::byte edge[kTileBytes];
  for (std::int64_t j = 0; j < (p.n + 31) / 32 * 32; j += kTileRows) {
    const std::byte* rows = bytes(p.src) + j * p.stride_bytes;
    const std::int64_t valid = least(p.n - j, kTileRows);
    std::byte* dst =
        bytes(p.dst) + j / 32 * p.panel_stride_bytes + first_byte + j % 32 / kTileRows * kTileBytes;
    for (std::int64_t done = 0; done < row_bytes; done += kLineBytes, dst += kStepBytes) {
      fetch_rows(rows, kTileRows, p.stride_bytes, done, row_bytes);
      if (valid == kTileRows && row_bytes - done >= kLineBytes) {
        transpose_tile(rows + done, p.stride_bytes, dst);
        continue;
      }
      for (int r = 0; r < kTileRows; ++r)
        _mm512_store_si512(edge + r * kLineBytes,
                           r < valid ? load_line(rows + r * p.stride_bytes + done, row_bytes - done)
                                     : _mm512_setzero_si512());
      transpose_tile(edge, kLineBytes, dst);
    }
  }
}

}  // namespace

// Per thread, around all tile calls of one gemm: the shape of the tiles, and giving them up (while
// tiles are in use every switch of threads saves and restores 8 KiB).
void enter_amx();
void enter_narrow_amx(int m);
void leave_amx();

}  // namespace weft::gemm
