// SPDX-License-Identifier: Apache-2.0
// float16 on AMX for few rows: the weight is split into hi + lo (x86_amx_fp16.cc) on its way, 32
// rows x 32 k at a time, into tiles that stay in L1. A k step of x is a tile of hi and one of lo.
// The split takes about 2.1 ns for 64 bytes, reading them from memory 3.5, and neither quite hides
// the other: 75-80 % of the speed of reading.
#include "kernels/gemm/x86_amx.h"
#include "kernels/gemm/x86_amx_narrow.h"

namespace weft::gemm {
namespace {

constexpr int kStep = 32;
constexpr std::int64_t kLo = 2 * kTileBytes;  // from the hi tiles of the weight to its lo tiles
constexpr std::int64_t kStepBytes = 4 * kTileBytes;

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

/// The rows of one k step of the weight.
struct WeightStep {
  const std::byte* src;
  std::int64_t stride, ahead;  // what to fetch lies `ahead` bytes after what is read
};

/// Rows from `first` on as rows of a hi and a lo tile.
template <int kRows>
inline void split_weight(const WeightStep& step, int first, std::byte* dst) {
  const std::byte* src = step.src + first * step.stride;
  dst += first * kLineBytes;
#pragma GCC unroll 8
  for (int j = 0; j < kRows; ++j, src += step.stride, dst += kLineBytes) {
    fetch_narrow(src + step.ahead);
    const Split s = split(_mm512_loadu_si512(src));
    _mm512_store_si512(dst, s.hi);
    _mm512_store_si512(dst + kLo, s.lo);
  }
}

/// One k step, the four products in the order of x86_amx_fp16.cc, and between them the split of the
/// next, if there is one: the conversions of a whole step would fill the reorder buffer, while the
/// products, which wait for each other, stand still (a sixth slower).
template <bool kLower, bool kLast>
inline void multiply_step(const std::byte* x, const std::byte* w, const WeightStep& next,
                          std::byte* split) {
  constexpr int kQuarter = (kLower ? 2 : 1) * kTileRows / 4;
  const auto split_quarter = [&](int i) {
    if constexpr (!kLast) split_weight<kQuarter>(next, i * kQuarter, split);
  };
  stores_are_visible();
  _tile_loadd(4, x, kLineBytes);
  _tile_loadd(6, w, kLineBytes);
  if constexpr (kLower) _tile_loadd(7, w + kTileBytes, kLineBytes);
  _tile_dpbf16ps(0, 6, 4);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 4);
  split_quarter(0);
  _tile_loadd(5, x + kTileBytes, kLineBytes);
  _tile_dpbf16ps(0, 6, 5);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 5);
  split_quarter(1);
  _tile_loadd(6, w + kLo, kLineBytes);
  if constexpr (kLower) _tile_loadd(7, w + kLo + kTileBytes, kLineBytes);
  _tile_dpbf16ps(0, 6, 5);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 5);
  split_quarter(2);
  _tile_dpbf16ps(0, 6, 4);
  if constexpr (kLower) _tile_dpbf16ps(1, 7, 4);
  split_quarter(3);
}

/// Step `done` of the weight; from `whole` on it is a copy in `edge`.
template <bool kLower>
inline WeightStep weight_step(const Narrow& p, std::int64_t done, std::int64_t whole,
                              std::byte* edge) {
  if (done < whole)
    return {bytes(p.w) + done, p.stride_bytes, narrow_ahead<kLower>(p, done, 2 * p.k)};
  copy_edge<kLower>(p, done, 2 * p.k, edge);
  return {edge, kLineBytes, 0};
}

template <bool kLower>
bool multiply_narrow_split(const Narrow& p) {
  constexpr int kRows = (kLower ? 2 : 1) * kTileRows;
  alignas(64) std::byte steps[2][kStepBytes], edge[2 * kTileBytes], c[2 * kTileBytes];
  const std::byte* x = bytes(p.x);
  const std::int64_t row_bytes = 2 * p.k;
  const std::int64_t whole = p.n == kRows ? row_bytes / kLineBytes * kLineBytes : 0;
  load_narrow_c<kLower>(p);
  // One step ahead: a tile load of lines that are still in the store buffer waits for them.
  WeightStep step = weight_step<kLower>(p, 0, whole, edge);
  split_weight<kRows>(step, 0, steps[0]);
  int now = 0;
  for (std::int64_t done = kLineBytes; done < row_bytes; done += kLineBytes, now ^= 1) {
    step = weight_step<kLower>(p, done, whole, edge);
    multiply_step<kLower, false>(x, steps[now], step, steps[now ^ 1]);
    x += 2 * kTileBytes;
  }
  multiply_step<kLower, true>(x, steps[now], step, steps[now ^ 1]);
  store_narrow_c<kLower>(c);
  // A nan in lo is in every product of its row or column; finite values never sum up to one.
  __mmask16 nan = 0;
  for (int j = 0; j < kRows; ++j) {
    const __m512 line = _mm512_load_ps(c + j * kLineBytes);
    nan |= _mm512_cmp_ps_mask(line, line, _CMP_UNORD_Q);
  }
  if (nan) return false;
  write_acc<kLower>(p, c);
  return true;
}

}  // namespace

bool narrow_f16_amxbf16(const Narrow& p) {
  stores_are_visible();
  return p.n <= kTileRows ? multiply_narrow_split<false>(p) : multiply_narrow_split<true>(p);
}

void pack_x_f16_amxbf16(const PackA& p) {
  alignas(64) std::byte hi[kTileBytes], lo[kTileBytes];
  std::byte* dst = bytes(p.dst);
  for (std::int64_t k = 0; k < p.k; k += kStep, dst += 2 * kTileBytes) {
    const std::byte* src = bytes(p.src) + 2 * k;
    for (int i = 0; i < kTileRows; ++i, src += p.stride_bytes) {
      const Split s = split(i < p.m ? load_line(src, 2 * (p.k - k)) : _mm512_setzero_si512());
      _mm512_store_si512(hi + i * kLineBytes, s.hi);
      _mm512_store_si512(lo + i * kLineBytes, s.lo);
    }
    transpose_tile(hi, kLineBytes, dst);
    transpose_tile(lo, kLineBytes, dst + kTileBytes);
  }
}

}  // namespace weft::gemm
