// SPDX-License-Identifier: Apache-2.0
// AVX-512 F, BW, DQ, VL. One line is one zmm of T or two zmm of floats. Included by AVX-512 files
// alone.
#pragma once

#include "base/intrinsics.h"
#include "kernels/rows/generic.h"

namespace weft::rows {
namespace {

struct Avx512 {
  static constexpr bool kStreams = true;
  using F = __m512;
  static constexpr int kRegs = 2;
  struct Line {
    F v[kRegs];
  };

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F broadcast(float f) { return _mm512_set1_ps(f); }

  static __mmask32 mask(int count) { return (std::uint32_t{1} << count) - 1; }
  static __mmask16 low(__mmask32 m) { return static_cast<__mmask16>(m); }
  static __mmask16 high(__mmask32 m) { return static_cast<__mmask16>(m >> 16); }

  static __m512i load_bits(const U16* p, Whole) { return _mm512_loadu_si512(p); }
  static __m512i load_bits(const U16* p, int count) {
    return _mm512_maskz_loadu_epi16(mask(count), p);
  }
  static void store_bits(U16* p, __m512i x, Whole) { _mm512_storeu_si512(p, x); }
  static void store_bits(U16* p, __m512i x, int count) {
    _mm512_mask_storeu_epi16(p, mask(count), x);
  }
  static void stream_bits(U16* p, __m512i x) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), x);
  }
  static __m256i upper(__m512i x) { return _mm512_extracti64x4_epi64(x, 1); }

  static Line load_f32(const float* p, Whole) {
    return {_mm512_loadu_ps(p), _mm512_loadu_ps(p + 16)};
  }
  static Line load_f32(const float* p, int count) {
    const __mmask32 m = mask(count);
    return {_mm512_maskz_loadu_ps(low(m), p), _mm512_maskz_loadu_ps(high(m), p + 16)};
  }
  static void store_f32(float* p, const Line& x, Whole) {
    _mm512_storeu_ps(p, x.v[0]);
    _mm512_storeu_ps(p + 16, x.v[1]);
  }
  static void store_f32(float* p, const Line& x, int count) {
    const __mmask32 m = mask(count);
    _mm512_mask_storeu_ps(p, low(m), x.v[0]);
    _mm512_mask_storeu_ps(p + 16, high(m), x.v[1]);
  }
  static Line load_s32(const std::int32_t* p, Whole) {
    return {_mm512_cvtepi32_ps(_mm512_loadu_si512(p)),
            _mm512_cvtepi32_ps(_mm512_loadu_si512(p + 16))};
  }
  static Line load_s32(const std::int32_t* p, int count) {
    const __mmask32 m = mask(count);
    return {_mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(low(m), p)),
            _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(high(m), p + 16))};
  }
  static F from_s8(__m128i x) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x)); }
  static Line load_s8(const std::int8_t* p, Whole) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    return {from_s8(_mm_loadu_si128(q)), from_s8(_mm_loadu_si128(q + 1))};
  }
  static Line load_s8(const std::int8_t* p, int count) {
    const __mmask32 m = mask(count);
    return {from_s8(_mm_maskz_loadu_epi8(low(m), p)),
            from_s8(_mm_maskz_loadu_epi8(high(m), p + 16))};
  }
  // 32 nibbles, the low one of each byte first: split, sign-extend ((x ^ 8) - 8), interleave.
  static Line from_s4(__m128i bytes) {
    const __m128i fifteen = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    const __m128i even = _mm_and_si128(bytes, fifteen);
    const __m128i odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), fifteen);
    const __m128i even_s = _mm_sub_epi8(_mm_xor_si128(even, eight), eight);
    const __m128i odd_s = _mm_sub_epi8(_mm_xor_si128(odd, eight), eight);
    return {from_s8(_mm_unpacklo_epi8(even_s, odd_s)), from_s8(_mm_unpackhi_epi8(even_s, odd_s))};
  }
  static Line load_s4(const std::uint8_t* p, Whole) {
    return from_s4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Line load_s4(const std::uint8_t* p, int count) {
    return from_s4(_mm_maskz_loadu_epi8(low(mask((count + 1) / 2)), p));
  }

  using Bytes = __m256i;
  static __m128i to_s8(__m512 x) {
    const __m512 half =
        _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    const __mmask16 number = _mm512_cmp_ps_mask(half, half, _CMP_ORD_Q);
    // What no int32 holds becomes the least one: right for -inf, so only the upper limit is here.
    const __m512 limited = _mm512_min_ps(half, _mm512_set1_ps(127));
    return _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(number, limited));
  }
  static Bytes to_bytes(const Line& x) { return _mm256_set_m128i(to_s8(x.v[1]), to_s8(x.v[0])); }
  static void store(std::int8_t* p, Bytes x, Whole) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
  }
  static void store(std::int8_t* p, Bytes x, int count) {
    _mm256_mask_storeu_epi8(p, mask(count), x);
  }
  static void stream(std::int8_t* p, Bytes x) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), x);
  }
};

struct InOrder : Avx512 {
  using Element = U16;
  static void lanes(const Line& x, float* lane) { store_f32(lane, x, Whole{}); }
};

struct Fp16 : InOrder {
  using Avx512::store;
  using Avx512::stream;
  static constexpr bool kRoundEachStep = true;
  // Two halves, because that is what the conversions give and take.
  struct Packed {
    __m256i lo, hi;
  };
  static Packed pack(const Line& x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm512_cvtps_ph(x.v[0], kNearest), _mm512_cvtps_ph(x.v[1], kNearest)};
  }
  static Line unpack(const Packed& x) { return {_mm512_cvtph_ps(x.lo), _mm512_cvtph_ps(x.hi)}; }
  static Packed load_packed(const U16* p, Whole) {
    const auto* q = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
  }
  static Packed load_packed(const U16* p, int count) {
    const __m512i x = load_bits(p, count);
    return {_mm512_castsi512_si256(x), upper(x)};
  }
  template <class Count>
  static Line load(const U16* p, Count count) {
    return unpack(load_packed(p, count));
  }
  static Line fill(const U16* p) {
    const __m512 x = _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(*p)));
    return {x, x};
  }
  static __m512i joined(const Packed& x) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(x.lo), x.hi, 1);
  }
  template <class Count>
  static void store(U16* p, const Packed& x, Count count) {
    store_bits(p, joined(x), count);
  }
  static void stream(U16* p, const Packed& x) { stream_bits(p, joined(x)); }
};

// The upper half of each 32 bits is the nearest bfloat16, ties to even; nan is made quiet and keeps
// its upper bits. Integer arithmetic, because vcvtneps2bf16 flushes denormals.
inline __m512i round_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  __m512i r = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
  r = _mm512_mask_add_epi32(r, odd, bits, _mm512_set1_epi32(0x8000));
  return _mm512_mask_or_epi32(r, nan, bits, _mm512_set1_epi32(0x400000));
}

struct Bf16 : InOrder {
  using Avx512::store;
  using Avx512::stream;
  static constexpr bool kRoundEachStep = false;
  struct Packed {
    __m512i bits;
  };
  static __m512 widened(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static Packed pack(const Line& x) { return upper_halves(round_bf16(x.v[0]), round_bf16(x.v[1])); }
  static Packed upper_halves(__m512i a, __m512i b) {
    // The odd 16-bit elements of both, one after the other.
    const __m512i index =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return {_mm512_permutex2var_epi16(a, index, b)};
  }
  static Line unpack(const Packed& x) {
    return {widened(_mm512_castsi512_si256(x.bits)), widened(upper(x.bits))};
  }
  static Line load(const U16* p, Whole) {
    const auto* q = reinterpret_cast<const __m256i*>(p);
    return {widened(_mm256_loadu_si256(q)), widened(_mm256_loadu_si256(q + 1))};
  }
  static Line load(const U16* p, int count) { return unpack({load_bits(p, count)}); }
  static Line fill(const U16* p) {
    const __m512 x = widened(_mm256_set1_epi16(static_cast<short>(*p)));
    return {x, x};
  }
  template <class Count>
  static void store(U16* p, const Packed& x, Count count) {
    store_bits(p, x.bits, count);
  }
  static void stream(U16* p, const Packed& x) { stream_bits(p, x.bits); }
};

// bfloat16 to bfloat16: even elements in one register, odd ones in the other. Widening and packing
// are then one shift and one mask each, and touch no shuffle port.
struct Bf16Pairs : Avx512 {
  using Element = U16;
  using Packed = Bf16::Packed;
  static constexpr __mmask32 kOdd = 0xaaaaaaaa;
  static Packed pack(const Line& x) {
    return {
        _mm512_mask_mov_epi16(_mm512_srli_epi32(round_bf16(x.v[0]), 16), kOdd, round_bf16(x.v[1]))};
  }
  static Line unpack(const Packed& x) {
    const __m512i upper_half = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(x.bits, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(x.bits, upper_half))};
  }
  template <class Count>
  static Packed load_packed(const U16* p, Count count) {
    return {load_bits(p, count)};
  }
  template <class Count>
  static Line load(const U16* p, Count count) {
    return unpack(load_packed(p, count));
  }
  template <class Count>
  static void store(U16* p, const Packed& x, Count count) {
    store_bits(p, x.bits, count);
  }
  static void stream(U16* p, const Packed& x) { stream_bits(p, x.bits); }
  static void lanes(const Line& x, float* lane) {
    alignas(64) float in_two[2][16];
    _mm512_store_ps(in_two[0], x.v[0]);
    _mm512_store_ps(in_two[1], x.v[1]);
    for (int i = 0; i < 32; ++i) lane[i] = in_two[i % 2][i / 2];
  }
};

struct Float32 : InFloats<InOrder> {
  static void stream(float* p, const Line& x) {
    _mm512_stream_ps(p, x.v[0]);
    _mm512_stream_ps(p + 16, x.v[1]);
  }
};

}  // namespace
}  // namespace weft::rows
