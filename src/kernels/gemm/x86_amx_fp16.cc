// SPDX-License-Identifier: Apache-2.0
// float16 on AMX without loss: x = hi + lo, both bfloat16, so a product is four exact products.
//   hi = x cut to 8 significant bits, lo = x - hi: at most 3 bits, and bfloat16 has fp32's
//   exponents, so subnormal float16 too are exact. No product or sum is an fp32 denormal (all are
//   multiples of 2^-48), so the instruction's flushing changes nothing.
// A block of 192 k (24 KiB of A) is best, 256 is a sixth slower: with B and C going by it no longer
// stays in L1.
// A k step of a panel is four tiles: hi upper, hi lower, lo upper, lo lower (B: left, right).
// inf and nan: hi takes them and lo is 0, but then inf · lo is nan where the product should be inf.
// Headers flag the rows of A and the columns of B that hold one; such a row or column of C has only
// inf and nan, and is computed with fp32 FMA instead.
#include "kernels/gemm/x86_amx.h"

namespace weft::gemm {
namespace {

constexpr int kStep = 32;
constexpr int kHeaderBytes = 64;
constexpr std::int64_t kLo = 2 * kTileBytes;  // from a hi tile to its lo tile
constexpr std::int64_t kStepBytes = 4 * kTileBytes;
constexpr int kSize = 32;  // rows of an A panel, columns of a B panel

inline std::uint32_t load_flags(const void* header) {
  return *static_cast<const std::uint32_t*>(header);
}
inline void add_flags(void* header, std::uint32_t flags) {
  *static_cast<std::uint32_t*>(header) |= flags;
}

/// The products of the tiles that are loaded.
template <bool kLower>
inline void multiply_loaded() {
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kLower) _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kLower) _tile_dpbf16ps(3, 5, 7);
}
template <bool kLower>
inline void load_a(const std::byte* a) {
  _tile_loadd(4, a, kLineBytes);
  if constexpr (kLower) _tile_loadd(5, a + kTileBytes, kLineBytes);
}
inline void load_b(const std::byte* b) {
  _tile_stream_loadd(6, b, kLineBytes);
  _tile_stream_loadd(7, b + kTileBytes, kLineBytes);
}

template <bool kLower>
void multiply(const Tile& tile) {
  const std::byte* a = bytes(tile.a);
  const std::byte* b = bytes(tile.b) + kHeaderBytes;
  const std::byte* c = bytes(tile.acc);
  const std::int64_t warm_from = tile.k - (kLower ? 2 : 1) * kTileRows / (4 * kWarmRows) * kStep;
  Ahead ahead(tile, tile.k / kStep * 4);
  load_c<kLower>(tile);
  // hi·hi, lo·hi, lo·lo, hi·lo: only one operand changes from one product to the next, so ten tile
  // loads feed sixteen products, and what is loaded twice is A, which is nearer.
  for (std::int64_t p = 0; p < tile.k; p += kStep, a += kStepBytes, b += kStepBytes) {
    const bool warm = p >= warm_from;
    load_b(b);
    load_a<kLower>(a);
    if (warm) c = warm_c(c, tile.acc_stride_bytes);
    ahead.turn();
    multiply_loaded<kLower>();
    load_a<kLower>(a + kLo);
    if (warm) c = warm_c(c, tile.acc_stride_bytes);
    ahead.turn();
    multiply_loaded<kLower>();
    load_b(b + kLo);
    if (warm) c = warm_c(c, tile.acc_stride_bytes);
    ahead.turn();
    multiply_loaded<kLower>();
    load_a<kLower>(a);
    if (warm) c = warm_c(c, tile.acc_stride_bytes);
    ahead.turn();
    multiply_loaded<kLower>();
  }
  store_c<kLower>(tile);
}

inline void multiply(const Tile& tile) {
  tile.m <= kTileRows ? multiply<false>(tile) : multiply<true>(tile);
}

/// The values of the low (even k) or high (odd k) halves of 16 pairs, hi + lo.
inline __m512 even(__m512i hi, __m512i lo) {
  return _mm512_add_ps(_mm512_castsi512_ps(_mm512_slli_epi32(hi, 16)),
                       _mm512_castsi512_ps(_mm512_slli_epi32(lo, 16)));
}
inline __m512 odd(__m512i hi, __m512i lo) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return _mm512_add_ps(_mm512_castsi512_ps(_mm512_and_si512(hi, mask)),
                       _mm512_castsi512_ps(_mm512_and_si512(lo, mask)));
}

/// Row i, columns 16 half .. + 15 of this tile's new C.
__m512 fma_row(const Tile& tile, int i, int half) {
  const std::byte* a = bytes(tile.a) + i * kLineBytes;  // rows 16.. are in the tile that follows
  const std::byte* b = bytes(tile.b) + kHeaderBytes + half * kTileBytes;
  const std::byte* before =
      tile.first ? bytes(tile.bias) : bytes(tile.acc) + i * tile.acc_stride_bytes;
  __m512 c = before ? _mm512_loadu_ps(before + half * kLineBytes) : _mm512_setzero_ps();
  for (std::int64_t p = 0; p < tile.k; p += kStep, a += kStepBytes, b += kStepBytes)
    for (int pair = 0; pair < kStep / 2; ++pair) {
      const __m512i a_hi = _mm512_set1_epi32(*reinterpret_cast<const int*>(a + 4 * pair));
      const __m512i a_lo = _mm512_set1_epi32(*reinterpret_cast<const int*>(a + kLo + 4 * pair));
      const __m512i b_hi = _mm512_load_si512(b + pair * kLineBytes);
      const __m512i b_lo = _mm512_load_si512(b + kLo + pair * kLineBytes);
      c = _mm512_fmadd_ps(even(a_hi, a_lo), even(b_hi, b_lo), c);
      c = _mm512_fmadd_ps(odd(a_hi, a_lo), odd(b_hi, b_lo), c);
    }
  return c;
}

/// The tile with some rows and columns flagged: those are computed first, because they too start
/// from what acc holds, and written last.
[[gnu::noinline]] void multiply_flagged(const Tile& tile, std::uint32_t rows,
                                        std::uint32_t columns) {
  alignas(64) float flagged[kSize][kSize];
  for (int i = 0; i < tile.m; ++i)
    if ((rows >> i & 1) || columns)
      for (int half = 0; half < 2; ++half)
        _mm512_store_ps(flagged[i] + 16 * half, fma_row(tile, i, half));
  multiply(tile);
  for (int i = 0; i < tile.m; ++i) {
    const std::uint32_t mask = rows >> i & 1 ? ~0u : columns;
    std::byte* c = bytes(tile.acc) + i * tile.acc_stride_bytes;
    for (int half = 0; half < 2; ++half)
      _mm512_mask_storeu_ps(c + half * kLineBytes, static_cast<__mmask16>(mask >> (16 * half)),
                            _mm512_load_ps(flagged[i] + 16 * half));
  }
}

struct Lines {
  __m512i hi, lo;
  std::uint32_t flags;  // the elements that are inf or nan
};

constexpr std::int16_t kExponent = 0x7c00;

/// 32 adjacent elements (those not in `mask` are zero and not touched), split in place.
inline Lines split_line(const std::byte* src, std::uint32_t mask) {
  const __m512i x = _mm512_maskz_loadu_epi16(mask, src);
  const __m512i exponent = _mm512_set1_epi16(kExponent);
  const __mmask32 finite = _mm512_cmpneq_epi16_mask(_mm512_and_si512(x, exponent), exponent);
  const __m512 cut = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  const __m512 x0 = _mm512_cvtph_ps(_mm512_castsi512_si256(x));
  const __m512 x1 = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1));
  const __m512 hi0 = _mm512_and_ps(x0, cut), hi1 = _mm512_and_ps(x1, cut);
  const __m512 lo0 = _mm512_maskz_sub_ps(static_cast<__mmask16>(finite), x0, hi0);
  const __m512 lo1 = _mm512_maskz_sub_ps(static_cast<__mmask16>(finite >> 16), x1, hi1);
  // Nothing is rounded here: the low halves of all four are zero.
  return {(__m512i)_mm512_cvtne2ps_pbh(hi1, hi0), (__m512i)_mm512_cvtne2ps_pbh(lo1, lo0), ~finite};
}

/// 16 columns of two rows (even and odd k) as lines of pairs.
inline Lines split_pairs(__m256i even, __m256i odd) {
  const __m256i exponent = _mm256_set1_epi16(kExponent);
  const __mmask16 finite0 = _mm256_cmpneq_epi16_mask(_mm256_and_si256(even, exponent), exponent);
  const __mmask16 finite1 = _mm256_cmpneq_epi16_mask(_mm256_and_si256(odd, exponent), exponent);
  const __m512i cut = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512 x0 = _mm512_cvtph_ps(even), x1 = _mm512_cvtph_ps(odd);
  const __m512i hi0 = _mm512_and_si512(_mm512_castps_si512(x0), cut);
  const __m512i hi1 = _mm512_and_si512(_mm512_castps_si512(x1), cut);
  const __m512 lo0 = _mm512_maskz_sub_ps(finite0, x0, _mm512_castsi512_ps(hi0));
  const __m512 lo1 = _mm512_maskz_sub_ps(finite1, x1, _mm512_castsi512_ps(hi1));
  return {
      _mm512_or_si512(hi1, _mm512_srli_epi32(hi0, 16)),
      _mm512_or_si512(_mm512_castps_si512(lo1), _mm512_srli_epi32(_mm512_castps_si512(lo0), 16)),
      static_cast<std::uint16_t>(~(finite0 & finite1))};
}

/// 16 rows of k (those from `k` on are zero) x the columns of `mask` into half a k step of a panel.
/// Returns the columns that are to be flagged.
inline std::uint32_t split_rows(const std::byte* src, std::int64_t stride, std::int64_t k,
                                std::uint32_t mask, std::byte* dst) {
  std::uint32_t flags = 0;
  for (std::int64_t p = 0; p < kRowsTogether; p += 2, src += 2 * stride, dst += kLineBytes)
    for (int half = 0; half < 2; ++half) {
      const std::byte* from = src + 32 * half;
      const auto columns = static_cast<__mmask16>(mask >> (16 * half));
      const Lines lines =
          split_pairs(_mm256_maskz_loadu_epi16(p < k ? columns : 0, from),
                      _mm256_maskz_loadu_epi16(p + 1 < k ? columns : 0, from + stride));
      flags |= lines.flags << (16 * half);
      _mm512_store_si512(dst + half * kTileBytes, lines.hi);
      _mm512_store_si512(dst + half * kTileBytes + kLo, lines.lo);
    }
  return flags;
}

/// dst[c][r] = src[r][c] for 32 x 32 elements of 2 bytes; dst is dense.
inline void transpose_words(const std::byte* src, std::int64_t stride, std::byte* dst) {
  for (int piece = 0; piece < 4; ++piece, src += 16, dst += 8 * kLineBytes) {
    __m512i r[8], s[8];
    for (int i = 0; i < 8; ++i) r[i] = load_quarters(src + i * stride, 8 * stride);  // i, i + 8, ..
    for (int i = 0; i < 8; i += 2) {  // pairs of rows
      s[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
      s[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)  // fours; r[i + c / 2] holds columns c and c + 1
      for (int high = 0; high < 2; ++high) {
        r[i + 2 * high] = _mm512_unpacklo_epi32(s[i + high], s[i + 2 + high]);
        r[i + 2 * high + 1] = _mm512_unpackhi_epi32(s[i + high], s[i + 2 + high]);
      }
    for (int i = 0; i < 4; ++i) {
      _mm512_store_si512(dst + 2 * i * kLineBytes, _mm512_unpacklo_epi64(r[i], r[i + 4]));
      _mm512_store_si512(dst + (2 * i + 1) * kLineBytes, _mm512_unpackhi_epi64(r[i], r[i + 4]));
    }
  }
}

/// Starts the headers of a strip that begins a panel.
inline void clear_flags(const PackB& p) {
  if (p.k_begin != 0) return;
  for (std::int64_t j = 0; j < p.n; j += kSize)
    _mm512_store_si512(bytes(p.dst) + j / kSize * p.panel_stride_bytes, _mm512_setzero_si512());
}

}  // namespace

void tile_f16_amxbf16(const Tile& tile) {
  stores_are_visible();
  const std::uint32_t rows = load_flags(tile.a_header), columns = load_flags(tile.b);
  rows | columns ? multiply_flagged(tile, rows, columns) : multiply(tile);
}

void pack_a_f16_amxbf16(const PackA& p) {
  std::byte* dst = bytes(p.dst) + kHeaderBytes;
  std::uint32_t flags = 0;
  for (std::int64_t k = 0; k < p.k; k += kStep, dst += kStepBytes) {
    const auto mask = static_cast<std::uint32_t>(low_bits(p.k - k));
    const std::byte* src = bytes(p.src) + 2 * k;
    for (int i = 0; i < kSize; ++i, src += p.stride_bytes) {
      const Lines lines = split_line(src, i < p.m ? mask : 0);
      if (lines.flags) flags |= 1u << i;
      _mm512_store_si512(dst + i * kLineBytes, lines.hi);
      _mm512_store_si512(dst + kLo + i * kLineBytes, lines.lo);
    }
  }
  _mm512_store_si512(p.dst, _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(flags))));
}

void pack_b_f16_amxbf16(const PackB& p) {
  clear_flags(p);
  const std::int64_t padded_k = (p.k + kStep - 1) / kStep * kStep;
  for (std::int64_t k = 0; k < padded_k; k += kRowsTogether)
    for (std::int64_t j = 0; j < p.n; j += kSize) {
      std::byte* panel = bytes(p.dst) + j / kSize * p.panel_stride_bytes;
      std::byte* dst =
          panel + kHeaderBytes + (p.k_begin + k) / kStep * kStepBytes + k % kStep / 2 * kLineBytes;
      const std::uint32_t flags =
          split_rows(bytes(p.src) + k * p.stride_bytes + 2 * j, p.stride_bytes, p.k - k,
                     static_cast<std::uint32_t>(low_bits(p.n - j)), dst);
      if (flags) [[unlikely]]
        add_flags(panel, flags);
    }
}

// Transposed before it is split: two bytes per element are half the shuffles of four.
void pack_bt_f16_amxbf16(const PackB& p) {
  clear_flags(p);
  alignas(64) std::byte edge[kSize * kLineBytes], columns[kSize * kLineBytes];
  for (std::int64_t j = 0; j < p.n; j += kSize) {
    std::byte* panel = bytes(p.dst) + j / kSize * p.panel_stride_bytes;
    std::byte* dst = panel + kHeaderBytes + p.k_begin / kStep * kStepBytes;
    const std::byte* rows = bytes(p.src) + j * p.stride_bytes;
    std::uint32_t flags = 0;
    for (std::int64_t k = 0; k < p.k; k += kStep, dst += kStepBytes) {
      fetch_rows(rows, kSize, p.stride_bytes, 2 * k, 2 * p.k);
      if (p.n - j >= kSize && p.k - k >= kStep) {
        transpose_words(rows + 2 * k, p.stride_bytes, columns);
      } else {
        for (int r = 0; r < kSize; ++r)
          _mm512_store_si512(edge + r * kLineBytes, load_line(rows + r * p.stride_bytes + 2 * k,
                                                              j + r < p.n ? 2 * (p.k - k) : 0));
        transpose_words(edge, kLineBytes, columns);
      }
      for (int half = 0; half < 2; ++half)
        flags |= split_rows(columns + half * kRowsTogether * kLineBytes, kLineBytes, kRowsTogether,
                            ~0u, dst + half * kRowsTogether / 2 * kLineBytes);
    }
    if (flags) [[unlikely]]
      add_flags(panel, flags);
  }
}

}  // namespace weft::gemm
