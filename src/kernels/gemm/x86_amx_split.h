// SPDX-License-Identifier: Apache-2.0
// float16 as hi + lo on its way to AMX, for few rows (the arithmetic: x86_amx_fp16.cc). In these
// kernels a k step of the weight is two tiles of hi and, kLo later, two of lo; of x it is one tile
// of each.
#pragma once

#include "kernels/gemm/x86_amx.h"

namespace weft::gemm {
namespace {

constexpr std::int64_t kLo = 2 * kTileBytes;  // from the hi tiles of the weight to its lo tiles

struct Split {
  __m512i hi, lo;
};

/// x = hi + lo as in x86_amx_fp16.cc, but an inf or a nan becomes a nan in lo. Even and odd k are
/// converted apart, so that shifts and masks put them together again: 2.06 ns a line where the
/// packing conversions of bfloat16 take 2.22.
inline Split split(__m512i line) {
  const __m512i order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1,
                                         30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i cut = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i apart = _mm512_permutexvar_epi16(order, line);
  const __m512 x0 = _mm512_cvtph_ps(_mm512_castsi512_si256(apart));
  const __m512 x1 = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(apart, 1));
  const __m512i hi0 = _mm512_and_si512(_mm512_castps_si512(x0), cut);
  const __m512i hi1 = _mm512_and_si512(_mm512_castps_si512(x1), cut);
  const __m512i lo0 = _mm512_castps_si512(_mm512_sub_ps(x0, _mm512_castsi512_ps(hi0)));
  const __m512i lo1 = _mm512_castps_si512(_mm512_sub_ps(x1, _mm512_castsi512_ps(hi1)));
  return {_mm512_or_si512(_mm512_srli_epi32(hi0, 16), hi1),
          _mm512_or_si512(_mm512_srli_epi32(lo0, 16), lo1)};
}

/// The same for values that are normal or zero, in their order: the bits of hi are those of float16
/// with another exponent, lo is one of eight values and the exponent.
inline Split split_normal(__m512i x) {
  constexpr int kRebias = (127 - 15) << 7;
  // What to take from the power of two in hi, which is 2^10 times that of the three bits that hi
  // leaves, to get those bits as a bfloat16; all of it if they are zero. Each four times, because
  // a lookup takes five bits of the index.
  constexpr std::int64_t k1 = 0x500, k2 = k1 - 0x80, k3 = k1 - 0xc0, k4 = k1 - 0x100;
  constexpr std::int64_t k5 = k1 - 0x120, k6 = k1 - 0x140, k7 = k1 - 0x160;
  constexpr std::int64_t kLow = 0xffff | k1 << 16 | k2 << 32 | k3 << 48;
  constexpr std::int64_t kHigh = k4 | k5 << 16 | k6 << 32 | k7 << 48;
  const __m512i less = _mm512_set_epi64(kHigh, kLow, kHigh, kLow, kHigh, kLow, kHigh, kLow);
  const __m512i sign = _mm512_set1_epi16(static_cast<short>(0x8000));
  // A multiplication, because a shift would compete with the shuffles.
  const __m512i moved = _mm512_and_si512(_mm512_mulhi_epi16(x, _mm512_set1_epi16(1 << 13)),
                                         _mm512_set1_epi16(static_cast<short>(0x8fff)));
  const __mmask32 nonzero = _mm512_test_epi16_mask(x, _mm512_set1_epi16(0x7fff));
  const __m512i hi = _mm512_mask_add_epi16(moved, nonzero, moved, _mm512_set1_epi16(kRebias));
  const __m512i power = _mm512_and_si512(hi, _mm512_set1_epi16(0x7f80));
  const __m512i rest = _mm512_subs_epu16(power, _mm512_permutexvar_epi16(x, less));
  constexpr int kSelect = 0xca;  // sign bit: that of hi, else that of rest
  return {hi, _mm512_ternarylogic_epi32(sign, hi, rest, kSelect)};
}

/// One k step of the weight and of x, the four products in the order of x86_amx_fp16.cc; between(q)
/// does a quarter of the caller's conversions between the products: those of a whole step would
/// fill the reorder buffer, while the products, which wait for each other, stand still (a sixth
/// slower).
template <bool kLower, class Between>
inline void multiply_split_step(const std::byte* x, int m, const std::byte* w, Between between) {
  const std::int64_t x_row = 4 * m;
  stores_are_visible();
  _tile_loadd(4, x, x_row);
  _tile_loadd(6, w, kLineBytes);
  if constexpr (kLower) _tile_loadd(7, w + kTileBytes, kLineBytes);
  _tile_dpbf16ps(0, 6, 4);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 4);
  between(0);
  _tile_loadd(5, x + kTileRows * x_row, x_row);
  _tile_dpbf16ps(0, 6, 5);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 5);
  between(1);
  _tile_loadd(6, w + kLo, kLineBytes);
  if constexpr (kLower) _tile_loadd(7, w + kLo + kTileBytes, kLineBytes);
  _tile_dpbf16ps(0, 6, 5);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 5);
  between(2);
  _tile_dpbf16ps(0, 6, 4);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 4);
  between(3);
}

/// From a k step of x to the next.
inline std::int64_t x_step_bytes(int m) { return 2 * kTileRows * 4 * std::int64_t{m}; }

/// Whether the first m columns of C^T (kRows lines) hold a nan. A nan in lo is in every product of
/// its row or column; finite values never sum up to one.
template <int kRows>
inline bool any_nan(const std::byte* c, int m) {
  __mmask16 nan = 0;
  for (int j = 0; j < kRows; ++j) {
    const __m512 line = _mm512_load_ps(c + j * kLineBytes);
    nan |= _mm512_cmp_ps_mask(line, line, _CMP_UNORD_Q);
  }
  return (nan & low_bits(m)) != 0;
}

}  // namespace
}  // namespace weft::gemm
