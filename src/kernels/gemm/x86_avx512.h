// SPDX-License-Identifier: Apache-2.0
// What generic.h needs, for 512-bit vectors: base class and element types shared by the AVX-512
// kernels. In an anonymous namespace for the reason given there.
#pragma once

#include "base/intrinsics.h"
#include "kernels/gemm/generic.h"

namespace weft::gemm {
namespace {

struct Zmm {
  using Vec = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kHeaderBytes = 0, kBHeaderBytes = 0;

  static Vec zero() { return _mm512_setzero_si512(); }
  static Vec load(const char* p) { return _mm512_loadu_si512(p); }
  static Vec load_part(const char* p, int bytes) {
    return _mm512_maskz_loadu_epi8(~__mmask64{0} >> (64 - bytes), p);
  }
  static void store(char* p, Vec x) { _mm512_storeu_si512(p, x); }
  template <int lanes>
  static void store_lanes(char* p, Vec x) {
    if constexpr (lanes == kLanes)
      store(p, x);
    else
      _mm512_mask_storeu_epi32(p, (1u << lanes) - 1, x);
  }
  static Vec broadcast(const char* p) {
    int word;
    __builtin_memcpy(&word, p, sizeof(word));
    return _mm512_set1_epi32(word);
  }
  static Vec add(Vec x, Vec y) { return _mm512_add_epi32(x, y); }
  static Vec add_header(Vec sum, Vec) { return sum; }

  static Vec lower_half(Vec x) { return _mm512_and_si512(x, _mm512_set1_epi32(0xffff)); }

  [[gnu::always_inline]] static void transpose4(const char* src, std::int64_t stride, Vec (&x)[4]) {
    // Loads that insert need no shuffle port, which is what limits a transposition.
    const auto quarters = [&](int row) {
      const auto piece = [&](int i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + (row + 4 * i) * stride));
      };
      Vec r = _mm512_castsi128_si512(piece(0));
      r = _mm512_inserti32x4(r, piece(1), 1);
      r = _mm512_inserti32x4(r, piece(2), 2);
      return _mm512_inserti32x4(r, piece(3), 3);
    };
    const Vec r0 = quarters(0), r1 = quarters(1), r2 = quarters(2), r3 = quarters(3);
    const Vec low01 = _mm512_unpacklo_epi32(r0, r1), high01 = _mm512_unpackhi_epi32(r0, r1);
    const Vec low23 = _mm512_unpacklo_epi32(r2, r3), high23 = _mm512_unpackhi_epi32(r2, r3);
    x[0] = _mm512_unpacklo_epi64(low01, low23);
    x[1] = _mm512_unpackhi_epi64(low01, low23);
    x[2] = _mm512_unpacklo_epi64(high01, high23);
    x[3] = _mm512_unpackhi_epi64(high01, high23);
  }
  static void transpose(Vec (&x)[16]) {
    Vec s[16];  // s[4g + c]: lane q holds column 4q + c of rows 4g..4g+3
    WEFT_UNROLL
    for (int g = 0; g < 16; g += 4) {
      const Vec ab_low = _mm512_unpacklo_epi32(x[g], x[g + 1]);
      const Vec ab_high = _mm512_unpackhi_epi32(x[g], x[g + 1]);
      const Vec cd_low = _mm512_unpacklo_epi32(x[g + 2], x[g + 3]);
      const Vec cd_high = _mm512_unpackhi_epi32(x[g + 2], x[g + 3]);
      s[g] = _mm512_unpacklo_epi64(ab_low, cd_low);
      s[g + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
      s[g + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
      s[g + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    WEFT_UNROLL
    for (int c = 0; c < 4; ++c) {
      const Vec even_low = _mm512_shuffle_i32x4(s[c], s[4 + c], 0x88);  // lanes 0 and 2
      const Vec odd_low = _mm512_shuffle_i32x4(s[c], s[4 + c], 0xdd);   // lanes 1 and 3
      const Vec even_high = _mm512_shuffle_i32x4(s[8 + c], s[12 + c], 0x88);
      const Vec odd_high = _mm512_shuffle_i32x4(s[8 + c], s[12 + c], 0xdd);
      x[c] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
      x[8 + c] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
      x[4 + c] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
      x[12 + c] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
  }
};

/// What generic_narrow.h needs to restore weights.
struct ZmmFloat : Zmm {
  using F = __m512;

  static F broadcast_float(float x) { return _mm512_set1_ps(x); }
  static F as_float(Vec x) { return _mm512_castsi512_ps(x); }
  static Vec bits(F x) { return _mm512_castps_si512(x); }
  static F to_float(Vec x) { return _mm512_cvtepi32_ps(x); }
  static F add(F x, F y) { return _mm512_add_ps(x, y); }
  static F mul(F x, F y) { return _mm512_mul_ps(x, y); }
  static F fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }
  template <class Predicate>
  static bool every(F x, Predicate holds) {
    float lanes[kLanes];
    _mm512_storeu_ps(lanes, x);
    bool all = true;
    for (const float lane : lanes) all &= holds(lane);
    return all;
  }
  template <DType T>
  static F load_wide(const char* p, int n) {
    return widen<T>(_mm256_maskz_loadu_epi16(n <= 0 ? 0 : 0xffff >> (16 - n), p));
  }
  template <DType T>
  static F broadcast_wide(const char* p) {
    short one;
    __builtin_memcpy(&one, p, sizeof(one));
    return widen<T>(_mm256_set1_epi16(one));
  }
  template <int begin, int bits>
  static Vec field(Vec x) {
    // One shuffle does what takes a shift and a mask, but the shuffle port has enough to do with
    // the other bytes' conversions.
    if constexpr (bits == 8 && begin == 8) {
      const __m128i to_top =
          _mm_set_epi8(13, -1, -1, -1, 9, -1, -1, -1, 5, -1, -1, -1, 1, -1, -1, -1);
      return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(to_top));
    }
    constexpr int kLeft = 32 - bits - begin;
    if constexpr (kLeft > 0) x = _mm512_slli_epi32(x, kLeft);
    if constexpr (begin > 0) x = _mm512_and_si512(x, _mm512_set1_epi32(-1 << (32 - bits)));
    return x;
  }
  template <DType T>
  static Vec round(F x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    if constexpr (T == DType::kFloat16)
      return _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtps_ph(x, kNearest)));
    // Ties to even, by integers, because vcvtneps2bf16 flushes denormals.
    const Vec bits = _mm512_castps_si512(x);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    Vec r = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    r = _mm512_mask_add_epi32(r, odd, bits, _mm512_set1_epi32(0x8000));
    return _mm512_and_si512(r, _mm512_set1_epi32(-65536));
  }
  /// As round, for zero and what is a normal number of T before and after; zero may lose its sign.
  template <DType T>
  static Vec round_normal(F x) {
    constexpr float kLost = T == DType::kFloat16 ? 0x1p13f : 0x1p16f;  // bits of the significand
    // Next to a power of two that much larger, the bits that T has are what is left.
    const F power = as_float(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(-1 << 23)));
    const F sum = _mm512_fmadd_ps(power, broadcast_float(kLost), x);
    return _mm512_castps_si512(_mm512_fnmadd_ps(power, broadcast_float(kLost), sum));
  }
  /// Whether every lane is +0, or positive and in [least, most].
  static bool none_or_between(F x, float least, float most) {
    const __mmask16 in = _mm512_cmp_ps_mask(x, broadcast_float(least), _CMP_GE_OQ) &
                         _mm512_cmp_ps_mask(x, broadcast_float(most), _CMP_LE_OQ);
    return (in | _mm512_testn_epi32_mask(_mm512_castps_si512(x), _mm512_castps_si512(x))) == 0xffff;
  }
  template <int bits>
  static F integers(const char* p) {
    if constexpr (bits == 8)
      return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    // A lookup ignores all but the lowest four bits of an index.
    const Vec dword = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const Vec right = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const F values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
    const __m128i raw = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const Vec x = _mm512_permutexvar_epi32(dword, _mm512_castsi128_si512(raw));
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(x, right), values);
  }
  static Vec magnitude(F x) {
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
  }
  static Vec most(Vec x, Vec y) { return _mm512_max_epi32(x, y); }
  static F smaller(F x, F y) { return _mm512_min_ps(x, y); }
  static int most_lane(Vec x) { return _mm512_reduce_max_epi32(x); }
  static F fraction(F x) {
    return _mm512_sub_ps(x, _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static Vec pair(Vec x, Vec y) { return _mm512_or_si512(_mm512_srli_epi32(x, 16), y); }

 private:
  template <DType T>
  static F widen(__m256i x) {
    if constexpr (T == DType::kFloat16) return _mm512_cvtph_ps(x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
};

/// Vectors of eight lanes, for as many rows: two of their products a cycle are as much as one of
/// sixteen lanes where that is what a core has. Half is what generic_narrow_lanes.h asks of a Dot.
struct Half {
  using Vec = __m256i;
  static constexpr int kLanes = 8;
  static Vec zero() { return _mm256_setzero_si256(); }
  static Vec load(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const Vec*>(p)); }
  static void store(char* p, Vec x) { _mm256_storeu_si256(reinterpret_cast<Vec*>(p), x); }
  static Vec broadcast(const char* p) {
    int word;
    __builtin_memcpy(&word, p, sizeof(word));
    return _mm256_set1_epi32(word);
  }
};
struct HalfF32Acc : Half {
  using Acc = __m256;
  static Acc load_acc(const char* p) { return _mm256_castsi256_ps(load(p)); }
  static void store_acc(char* p, Acc x) { store(p, _mm256_castps_si256(x)); }
};
struct HalfS32Acc : Half {
  using Acc = __m256i;
  static Acc load_acc(const char* p) { return load(p); }
  static void store_acc(char* p, Acc x) { store(p, x); }
};

struct S32Acc : Zmm {
  using Acc = __m512i;
  static Acc zero_acc() { return zero(); }
  static Acc load_acc(const char* p) { return load(p); }
  static void store_acc(char* p, Acc x) { store(p, x); }
  static Acc correct(Acc acc, const char*) { return acc; }
};

struct F32Acc : Zmm {
  using Acc = __m512;
  static Acc zero_acc() { return _mm512_setzero_ps(); }
  static Acc load_acc(const char* p) { return _mm512_loadu_ps(p); }
  static void store_acc(char* p, Acc x) { _mm512_storeu_ps(p, x); }
  static Acc correct(Acc acc, const char*) { return acc; }
};

/// Two bfloat16 per word, as they are.
struct Bf16Pairs : Zmm {
  static constexpr int kBytes = 2, kStep = 2;
  static void expand(Vec raw, Vec (&out)[1]) { out[0] = raw; }
  static Vec along(const char* p) { return load(p); }
  static Vec load_n(const char* p, std::int64_t stride_bytes) {
    return interleave(load_row(p), load_row(p + stride_bytes));
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes, int rows, int count) {
    const __mmask16 mask = 0xffff >> (16 - count);
    return interleave(
        _mm256_maskz_loadu_epi16(mask, p),
        rows > 1 ? _mm256_maskz_loadu_epi16(mask, p + stride_bytes) : _mm256_setzero_si256());
  }

 private:
  static __m256i load_row(const char* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Vec interleave(__m256i low, __m256i high) {
    const Vec order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                       23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order,
                                    _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  }
};

/// Four int8 per word, as they are.
struct S8Quads : Zmm {
  static constexpr int kBytes = 1, kStep = 4;
  static void expand(Vec raw, Vec (&out)[1]) { out[0] = raw; }
  static Vec along(const char* p) { return load(p); }
  static Vec load_n(const char* p, std::int64_t stride_bytes) {
    return interleave(load_row(p), load_row(p + stride_bytes), load_row(p + 2 * stride_bytes),
                      load_row(p + 3 * stride_bytes));
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes, int rows, int count) {
    const __mmask16 mask = 0xffff >> (16 - count);
    const __m128i none = _mm_setzero_si128();
    return interleave(_mm_maskz_loadu_epi8(mask, p),
                      rows > 1 ? _mm_maskz_loadu_epi8(mask, p + stride_bytes) : none,
                      rows > 2 ? _mm_maskz_loadu_epi8(mask, p + 2 * stride_bytes) : none,
                      rows > 3 ? _mm_maskz_loadu_epi8(mask, p + 3 * stride_bytes) : none);
  }

 private:
  static __m128i load_row(const char* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  // 4 x 16 bytes transposed: words across the four lanes, then bytes within each. Inserting from
  // memory needs no shuffle, so this costs two.
  static Vec interleave(__m128i r0, __m128i r1, __m128i r2, __m128i r3) {
    Vec x = _mm512_castsi128_si512(r0);
    x = _mm512_inserti32x4(x, r1, 1);
    x = _mm512_inserti32x4(x, r2, 2);
    x = _mm512_inserti32x4(x, r3, 3);
    const Vec words = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const Vec bytes =
        _mm512_broadcast_i32x4(_mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(words, x), bytes);
  }
};

struct F32Dot : F32Acc {
  static constexpr int kStep = 1;
  static Acc dot(Acc acc, Vec a, Vec b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), acc);
  }
};

struct S16Dot : S32Acc {
  static constexpr int kStep = 2;
  // Exact: two products are at most 2 * 2^14 in magnitude.
  static Acc dot(Acc acc, Vec a, Vec b) { return add(acc, _mm512_madd_epi16(a, b)); }
};

struct HalfF32Dot : HalfF32Acc {
  static constexpr int kStep = F32Dot::kStep;
  static Acc dot(Acc acc, Vec a, Vec b) {
    return _mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), acc);
  }
};
struct HalfS16Dot : HalfS32Acc {
  static constexpr int kStep = S16Dot::kStep;
  static Acc dot(Acc acc, Vec a, Vec b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
};

// One 16-bit float, widened: exact.
template <bool fp16>
struct F32Source : Zmm {
  static constexpr int kBytes = 2, kStep = 1;
  static void expand(Vec raw, Vec (&out)[2]) {
    if constexpr (fp16) {
      const Vec order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1,
                                         30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
      const Vec even_odd = _mm512_permutexvar_epi16(order, raw);
      out[0] = widen(_mm512_castsi512_si256(even_odd));
      out[1] = widen(_mm512_extracti64x4_epi64(even_odd, 1));
    } else {
      out[0] = _mm512_slli_epi32(raw, 16);
      out[1] = _mm512_and_si512(raw, _mm512_set1_epi32(-65536));
    }
  }
  static Vec load_n(const char* p, std::int64_t) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vec load_n(const char* p, std::int64_t, int, int count) {
    return widen(_mm256_maskz_loadu_epi16(0xffff >> (16 - count), p));
  }
  static Vec along(const char* p) { return load_n(p, 0); }

 private:
  static Vec widen(__m256i x) {
    if constexpr (fp16) return _mm512_castps_si512(_mm512_cvtph_ps(x));
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
  }
};
using F16 = F32Source<true>;
using Bf16 = F32Source<false>;

// Two int8, widened to int16.
struct S8 : Zmm {
  static constexpr int kBytes = 1, kStep = 2;
  static void expand(Vec raw, Vec (&out)[2]) {
    // Each byte into the upper half of its 16 bits, then an arithmetic shift.
    const __m128i low = _mm_set_epi8(13, -1, 12, -1, 9, -1, 8, -1, 5, -1, 4, -1, 1, -1, 0, -1);
    const __m128i high = _mm_set_epi8(15, -1, 14, -1, 11, -1, 10, -1, 7, -1, 6, -1, 3, -1, 2, -1);
    out[0] = _mm512_srai_epi16(_mm512_shuffle_epi8(raw, _mm512_broadcast_i32x4(low)), 8);
    out[1] = _mm512_srai_epi16(_mm512_shuffle_epi8(raw, _mm512_broadcast_i32x4(high)), 8);
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes) {
    return interleave(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)),
                      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + stride_bytes)));
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes, int rows, int count) {
    const __mmask16 mask = 0xffff >> (16 - count);
    return interleave(
        _mm_maskz_loadu_epi8(mask, p),
        rows > 1 ? _mm_maskz_loadu_epi8(mask, p + stride_bytes) : _mm_setzero_si128());
  }
  static Vec along(const char* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }

 private:
  static Vec interleave(__m128i low, __m128i high) {
    return _mm512_cvtepi8_epi16(
        _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high)));
  }
};

}  // namespace
}  // namespace weft::gemm
