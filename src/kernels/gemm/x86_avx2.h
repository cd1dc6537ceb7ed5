// SPDX-License-Identifier: Apache-2.0
// What generic.h and generic_narrow.h need, for 256-bit vectors. In an anonymous namespace for the
// reason given there.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/generic.h"

namespace weft::gemm {
namespace {

struct Ymm {
  using Vec = __m256i;
  static constexpr int kLanes = 8;
  static constexpr int kHeaderBytes = 0, kBHeaderBytes = 0;

  static Vec zero() { return _mm256_setzero_si256(); }
  static Vec load(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const Vec*>(p)); }
  // AVX2 has no masked load of bytes; going through the stack never reads too far.
  static Vec load_part(const char* p, int bytes) {
    char buffer[32] = {};
    __builtin_memcpy(buffer, p, bytes);
    return load(buffer);
  }
  static void store(char* p, Vec x) { _mm256_storeu_si256(reinterpret_cast<Vec*>(p), x); }
  template <int lanes>
  static void store_lanes(char* p, Vec x) {
    if constexpr (lanes == kLanes) {
      store(p, x);
    } else {
      const Vec lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      _mm256_maskstore_epi32(reinterpret_cast<int*>(p),
                             _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), lane), x);
    }
  }
  static Vec broadcast(const char* p) {
    int word;
    __builtin_memcpy(&word, p, sizeof(word));
    return _mm256_set1_epi32(word);
  }
  static Vec add_header(Vec sum, Vec) { return sum; }

  [[gnu::always_inline]] static void transpose4(const char* src, std::int64_t stride, Vec (&x)[4]) {
    const auto halves = [&](int row) {
      return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(src + row * stride)),
                                     load16(src + (row + 4) * stride), 1);
    };
    const Vec r0 = halves(0), r1 = halves(1), r2 = halves(2), r3 = halves(3);
    const Vec low01 = _mm256_unpacklo_epi32(r0, r1), high01 = _mm256_unpackhi_epi32(r0, r1);
    const Vec low23 = _mm256_unpacklo_epi32(r2, r3), high23 = _mm256_unpackhi_epi32(r2, r3);
    x[0] = _mm256_unpacklo_epi64(low01, low23);
    x[1] = _mm256_unpackhi_epi64(low01, low23);
    x[2] = _mm256_unpacklo_epi64(high01, high23);
    x[3] = _mm256_unpackhi_epi64(high01, high23);
  }
  static void transpose(Vec (&x)[8]) {
    Vec s[8];  // s[4g + c]: lane q holds column 4q + c of rows 4g..4g+3
    WEFT_UNROLL
    for (int g = 0; g < 8; g += 4) {
      const Vec ab_low = _mm256_unpacklo_epi32(x[g], x[g + 1]);
      const Vec ab_high = _mm256_unpackhi_epi32(x[g], x[g + 1]);
      const Vec cd_low = _mm256_unpacklo_epi32(x[g + 2], x[g + 3]);
      const Vec cd_high = _mm256_unpackhi_epi32(x[g + 2], x[g + 3]);
      s[g] = _mm256_unpacklo_epi64(ab_low, cd_low);
      s[g + 1] = _mm256_unpackhi_epi64(ab_low, cd_low);
      s[g + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
      s[g + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    WEFT_UNROLL
    for (int c = 0; c < 4; ++c) {
      x[c] = _mm256_permute2x128_si256(s[c], s[4 + c], 0x20);
      x[4 + c] = _mm256_permute2x128_si256(s[c], s[4 + c], 0x31);
    }
  }

 protected:
  static __m128i load16(const char* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static __m128i load8(const char* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static __m128i low_half(Vec x) { return _mm256_castsi256_si128(x); }
};

/// What generic_narrow.h needs to restore weights.
struct YmmFloat : Ymm {
  using F = __m256;

  static F broadcast_float(float x) { return _mm256_set1_ps(x); }
  static F as_float(Vec x) { return _mm256_castsi256_ps(x); }
  static Vec bits(F x) { return _mm256_castps_si256(x); }
  static F to_float(Vec x) { return _mm256_cvtepi32_ps(x); }
  static F add(F x, F y) { return _mm256_add_ps(x, y); }
  static F mul(F x, F y) { return _mm256_mul_ps(x, y); }
  static F fma(F x, F y, F z) { return _mm256_fmadd_ps(x, y, z); }
  template <class Predicate>
  static bool every(F x, Predicate holds) {
    float lanes[kLanes];
    _mm256_storeu_ps(lanes, x);
    bool all = true;
    for (const float lane : lanes) all &= holds(lane);
    return all;
  }
  template <DType T>
  static F load_wide(const char* p, int n) {
    if (n <= 0) return broadcast_float(0);
    return widen<T>(n == kLanes ? load16(p) : low_half(load_part(p, 2 * n)));
  }
  template <DType T>
  static F broadcast_wide(const char* p) {
    short one;
    __builtin_memcpy(&one, p, sizeof(one));
    return widen<T>(_mm_set1_epi16(one));
  }
  template <int begin, int bits>
  static Vec field(Vec x) {
    constexpr int kLeft = 32 - bits - begin;
    if constexpr (kLeft > 0) x = _mm256_slli_epi32(x, kLeft);
    if constexpr (begin > 0) x = _mm256_and_si256(x, _mm256_set1_epi32(-1 << (32 - bits)));
    return x;
  }
  template <DType T>
  static Vec round(F x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    if constexpr (T == DType::kFloat16)
      return _mm256_castps_si256(_mm256_cvtph_ps(_mm256_cvtps_ph(x, kNearest)));
    const Vec bits = _mm256_castps_si256(x);  // ties to even
    const Vec odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const Vec r = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    return _mm256_and_si256(r, _mm256_set1_epi32(-65536));
  }
  /// As round, for zero and what is a normal number of T before and after; zero may lose its sign.
  template <DType T>
  static Vec round_normal(F x) {
    constexpr float kLost = T == DType::kFloat16 ? 0x1p13f : 0x1p16f;  // bits of the significand
    // Next to a power of two that much larger, the bits that T has are what is left.
    const F power = _mm256_and_ps(x, as_float(_mm256_set1_epi32(-1 << 23)));
    const F sum = _mm256_fmadd_ps(power, broadcast_float(kLost), x);
    return _mm256_castps_si256(_mm256_fnmadd_ps(power, broadcast_float(kLost), sum));
  }
  /// Whether every lane is +0, or positive and in [least, most].
  static bool none_or_between(F x, float least, float most) {
    const F in = _mm256_and_ps(_mm256_cmp_ps(x, broadcast_float(least), _CMP_GE_OQ),
                               _mm256_cmp_ps(x, broadcast_float(most), _CMP_LE_OQ));
    const F zero = as_float(_mm256_cmpeq_epi32(_mm256_castps_si256(x), _mm256_setzero_si256()));
    return _mm256_movemask_ps(_mm256_or_ps(in, zero)) == 0xff;
  }
  template <int bits>
  static F integers(const char* p) {
    if constexpr (bits == 8) return to_float(_mm256_cvtepi8_epi32(load8(p)));
    int dword;
    __builtin_memcpy(&dword, p, sizeof(dword));
    const Vec left = _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0);
    return to_float(_mm256_srai_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(dword), left), 28));
  }
  static Vec magnitude(F x) {
    return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
  }
  static Vec most(Vec x, Vec y) { return _mm256_max_epi32(x, y); }
  static F smaller(F x, F y) { return _mm256_min_ps(x, y); }
  static int most_lane(Vec x) {
    int lanes[kLanes], result = 0;
    store(reinterpret_cast<char*>(lanes), x);
    for (const int lane : lanes) result = lane > result ? lane : result;
    return result;
  }
  static F fraction(F x) {
    return _mm256_sub_ps(x, _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

 private:
  template <DType T>
  static F widen(__m128i x) {
    if constexpr (T == DType::kFloat16) return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
};

struct F32Dot : Ymm {
  using Acc = __m256;
  static constexpr int kStep = 1;
  static Acc zero_acc() { return _mm256_setzero_ps(); }
  static Acc load_acc(const char* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
  static void store_acc(char* p, Acc x) { _mm256_storeu_ps(reinterpret_cast<float*>(p), x); }
  static Acc correct(Acc acc, const char*) { return acc; }
  static Acc dot(Acc acc, Vec a, Vec b) {
    return _mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), acc);
  }
};

struct S16Dot : Ymm {
  using Acc = __m256i;
  static constexpr int kStep = 2;
  static Acc zero_acc() { return zero(); }
  static Acc load_acc(const char* p) { return load(p); }
  static void store_acc(char* p, Acc x) { store(p, x); }
  static Acc correct(Acc acc, const char*) { return acc; }
  // Exact: two products are at most 2 * 2^14 in magnitude.
  static Acc dot(Acc acc, Vec a, Vec b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
};

// One 16-bit float, widened: exact.
template <bool fp16>
struct F32Source : Ymm {
  static constexpr int kBytes = 2, kStep = 1;
  static void expand(Vec raw, Vec (&out)[2]) {
    if constexpr (fp16) {
      const __m128i halves = _mm_set_epi8(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0);
      const Vec even_odd = _mm256_permute4x64_epi64(
          _mm256_shuffle_epi8(raw, _mm256_broadcastsi128_si256(halves)), 0xd8);
      out[0] = widen(low_half(even_odd));
      out[1] = widen(_mm256_extracti128_si256(even_odd, 1));
    } else {
      out[0] = _mm256_slli_epi32(raw, 16);
      out[1] = _mm256_and_si256(raw, _mm256_set1_epi32(-65536));
    }
  }
  static Vec load_n(const char* p, std::int64_t) { return widen(load16(p)); }
  static Vec load_n(const char* p, std::int64_t, int, int count) {
    return widen(low_half(load_part(p, 2 * count)));
  }
  static Vec along(const char* p) { return widen(load16(p)); }

 private:
  static Vec widen(__m128i x) {
    if constexpr (fp16) return _mm256_castps_si256(_mm256_cvtph_ps(x));
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16);
  }
};
using F16 = F32Source<true>;
using Bf16 = F32Source<false>;

// Two int8, widened to int16.
struct S8 : Ymm {
  static constexpr int kBytes = 1, kStep = 2;
  static void expand(Vec raw, Vec (&out)[2]) {
    // Each byte into the upper half of its 16 bits, then an arithmetic shift.
    const __m128i low = _mm_set_epi8(13, -1, 12, -1, 9, -1, 8, -1, 5, -1, 4, -1, 1, -1, 0, -1);
    const __m128i high = _mm_set_epi8(15, -1, 14, -1, 11, -1, 10, -1, 7, -1, 6, -1, 3, -1, 2, -1);
    out[0] = _mm256_srai_epi16(_mm256_shuffle_epi8(raw, _mm256_broadcastsi128_si256(low)), 8);
    out[1] = _mm256_srai_epi16(_mm256_shuffle_epi8(raw, _mm256_broadcastsi128_si256(high)), 8);
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes) {
    return interleave(load8(p), load8(p + stride_bytes));
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes, int rows, int count) {
    return interleave(
        low_half(load_part(p, count)),
        rows > 1 ? low_half(load_part(p + stride_bytes, count)) : _mm_setzero_si128());
  }
  static Vec along(const char* p) { return _mm256_cvtepi8_epi16(load16(p)); }

 private:
  static Vec interleave(__m128i low, __m128i high) {
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(low, high));
  }
};

}  // namespace
}  // namespace weft::gemm
