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

}  // namespace
}  // namespace weft::gemm
