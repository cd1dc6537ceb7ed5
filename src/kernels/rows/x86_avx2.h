// SPDX-License-Identifier: Apache-2.0
// AVX2, FMA, F16C. One line is two ymm of T or four ymm of floats. There are no 16-bit masks: what
// is not a whole line goes through a line on the stack. Included by AVX2 files alone.
#pragma once

#include <immintrin.h>

#include "kernels/rows/generic.h"

namespace weft::rows {
namespace {

template <class E>
struct OnStack {
  alignas(32) E v[kLine];
};
template <class E>
inline OnStack<E> copy_in(const E* p, int count) {
  OnStack<E> r{};
  __builtin_memcpy(r.v, p, static_cast<std::size_t>(count) * sizeof(E));
  return r;
}
template <class E>
inline void copy_out(E* p, const OnStack<E>& x, int count) {
  __builtin_memcpy(p, x.v, static_cast<std::size_t>(count) * sizeof(E));
}

struct Avx2 {
  static constexpr bool kStreams = true;
  using F = __m256;
  static constexpr int kRegs = 4;
  struct Line {
    F v[kRegs];
  };

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F broadcast(float f) { return _mm256_set1_ps(f); }

  static Line load_f32(const float* p, Whole) {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8), _mm256_loadu_ps(p + 16),
            _mm256_loadu_ps(p + 24)};
  }
  static Line load_f32(const float* p, int count) {
    const auto line = copy_in(p, count);
    return load_f32(line.v, Whole{});
  }
  static void store_f32(float* p, const Line& x, Whole) {
    for (int i = 0; i < kRegs; ++i) _mm256_storeu_ps(p + 8 * i, x.v[i]);
  }
  static void store_f32(float* p, const Line& x, int count) {
    OnStack<float> line;
    store_f32(line.v, x, Whole{});
    copy_out(p, line, count);
  }
  static void lanes(const Line& x, float* lane) { store_f32(lane, x, Whole{}); }
  static Line load_s32(const std::int32_t* p, Whole) {
    const auto* q = reinterpret_cast<const __m256i*>(p);
    Line r;
    for (int i = 0; i < kRegs; ++i) r.v[i] = _mm256_cvtepi32_ps(_mm256_loadu_si256(q + i));
    return r;
  }
  static Line load_s32(const std::int32_t* p, int count) {
    const auto line = copy_in(p, count);
    return load_s32(line.v, Whole{});
  }
  static F low_s8(__m128i x) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)); }
  static Line from_s8(__m128i a, __m128i b) {
    return {low_s8(a), low_s8(_mm_srli_si128(a, 8)), low_s8(b), low_s8(_mm_srli_si128(b, 8))};
  }
  static Line load_s8(const std::int8_t* p, Whole) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    return from_s8(_mm_loadu_si128(q), _mm_loadu_si128(q + 1));
  }
  static Line load_s8(const std::int8_t* p, int count) {
    const auto line = copy_in(p, count);
    return load_s8(line.v, Whole{});
  }
  // 32 nibbles, the low one of each byte first: split, sign-extend ((x ^ 8) - 8), interleave.
  static Line load_s4(const std::uint8_t* p, Whole) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i fifteen = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    const __m128i even = _mm_and_si128(bytes, fifteen);
    const __m128i odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), fifteen);
    const __m128i even_s = _mm_sub_epi8(_mm_xor_si128(even, eight), eight);
    const __m128i odd_s = _mm_sub_epi8(_mm_xor_si128(odd, eight), eight);
    return from_s8(_mm_unpacklo_epi8(even_s, odd_s), _mm_unpackhi_epi8(even_s, odd_s));
  }
  static Line load_s4(const std::uint8_t* p, int count) {
    const auto line = copy_in(p, (count + 1) / 2);
    return load_s4(line.v, Whole{});
  }

  using Bytes = __m256i;
  static __m256i to_s32(__m256 x) {
    const __m256 half =
        _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    const __m256 number = _mm256_and_ps(half, _mm256_cmp_ps(half, half, _CMP_ORD_Q));
    // What no int32 holds becomes the least one: right for -inf, so only the upper limit is here.
    return _mm256_cvtps_epi32(_mm256_min_ps(number, _mm256_set1_ps(127)));
  }
  static Bytes saturated(__m256i x0, __m256i x1, __m256i x2, __m256i x3) {
    // The packs saturate, and work within 128-bit halves: put the quarters in order at the end.
    const __m256i a = _mm256_packs_epi32(x0, x1), b = _mm256_packs_epi32(x2, x3);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static Bytes to_bytes(const Line& x) {
    return saturated(to_s32(x.v[0]), to_s32(x.v[1]), to_s32(x.v[2]), to_s32(x.v[3]));
  }
  static void store(std::int8_t* p, Bytes x, Whole) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
  }
  static void store(std::int8_t* p, Bytes x, int count) {
    OnStack<std::int8_t> line;
    store(line.v, x, Whole{});
    copy_out(p, line, count);
  }
  static void stream(std::int8_t* p, Bytes x) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), x);
  }
};

// What the types share once they can pack and unpack whole lines.
template <class Whole16>
struct Typed : Whole16 {
  using Element = U16;
  using typename Whole16::Line;
  using typename Whole16::Packed;
  using Whole16::load_packed;
  using Whole16::store;
  static Packed load_packed(const U16* p, int count) {
    const auto line = copy_in(p, count);
    return Whole16::load_packed(line.v, Whole{});
  }
  template <class Count>
  static Line load(const U16* p, Count count) {
    return Whole16::unpack(load_packed(p, count));
  }
  static void store(U16* p, const Packed& x, int count) {
    OnStack<U16> line;
    Whole16::store(line.v, x, Whole{});
    copy_out(p, line, count);
  }
};

struct WholeFp16 : Avx2 {
  using Avx2::store;
  using Avx2::stream;
  static constexpr bool kRoundEachStep = true;
  struct Packed {
    __m128i v[4];
  };
  static Packed pack(const Line& x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    Packed r;
    for (int i = 0; i < kRegs; ++i) r.v[i] = _mm256_cvtps_ph(x.v[i], kNearest);
    return r;
  }
  static Line unpack(const Packed& x) {
    Line r;
    for (int i = 0; i < kRegs; ++i) r.v[i] = _mm256_cvtph_ps(x.v[i]);
    return r;
  }
  static Packed load_packed(const U16* p, Whole) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    Packed r;
    for (int i = 0; i < kRegs; ++i) r.v[i] = _mm_loadu_si128(q + i);
    return r;
  }
  static Line fill(const U16* p) {
    const __m256 x = _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(*p)));
    return {x, x, x, x};
  }
  static void store(U16* p, const Packed& x, Whole) {
    auto* q = reinterpret_cast<__m128i*>(p);
    for (int i = 0; i < kRegs; ++i) _mm_storeu_si128(q + i, x.v[i]);
  }
  static void stream(U16* p, const Packed& x) {
    auto* q = reinterpret_cast<__m256i*>(p);
    _mm256_stream_si256(q, _mm256_set_m128i(x.v[1], x.v[0]));
    _mm256_stream_si256(q + 1, _mm256_set_m128i(x.v[3], x.v[2]));
  }
};

// The upper half of each 32 bits is the nearest bfloat16, ties to even; x is no nan.
inline __m256i round_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
}
// The same where there may be some: nan is made quiet and keeps its upper bits. Not inline: few
// results are nan, and looking at two registers at once is half as much work as blending them in.
[[gnu::noinline, gnu::cold]] __m256i round_bf16_or_nan(__m256 x) {
  const __m256i quiet = _mm256_or_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  return _mm256_blendv_epi8(round_bf16(x), quiet, _mm256_castps_si256(nan));
}
struct TwoRounded {
  __m256i a, b;
};
inline TwoRounded round_two_bf16(__m256 a, __m256 b) {
  if (_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_UNORD_Q)) != 0) [[unlikely]]
    return {round_bf16_or_nan(a), round_bf16_or_nan(b)};
  return {round_bf16(a), round_bf16(b)};
}

struct WholeBf16Bits : Avx2 {
  using Avx2::store;
  using Avx2::stream;
  struct Packed {
    __m256i v[2];
  };
  static Packed load_packed(const U16* p, Whole) {
    const auto* q = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
  }
  static void store(U16* p, const Packed& x, Whole) {
    auto* q = reinterpret_cast<__m256i*>(p);
    _mm256_storeu_si256(q, x.v[0]);
    _mm256_storeu_si256(q + 1, x.v[1]);
  }
  static void stream(U16* p, const Packed& x) {
    auto* q = reinterpret_cast<__m256i*>(p);
    _mm256_stream_si256(q, x.v[0]);
    _mm256_stream_si256(q + 1, x.v[1]);
  }
};

struct WholeBf16 : WholeBf16Bits {
  static constexpr bool kRoundEachStep = false;
  static F widened(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static __m256i upper_halves(__m256i a, __m256i b) {
    // The pack works within 128-bit halves: put its four quarters in order.
    const __m256i mixed = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
    return _mm256_permute4x64_epi64(mixed, 0xd8);
  }
  static __m256i pack_two(F a, F b) {
    const TwoRounded x = round_two_bf16(a, b);
    return upper_halves(x.a, x.b);
  }
  static Packed pack(const Line& x) { return {pack_two(x.v[0], x.v[1]), pack_two(x.v[2], x.v[3])}; }
  static Line unpack(const Packed& x) {
    return {widened(_mm256_castsi256_si128(x.v[0])), widened(_mm256_extracti128_si256(x.v[0], 1)),
            widened(_mm256_castsi256_si128(x.v[1])), widened(_mm256_extracti128_si256(x.v[1], 1))};
  }
  static Line fill(const U16* p) {
    const __m256 x = widened(_mm_set1_epi16(static_cast<short>(*p)));
    return {x, x, x, x};
  }
};

// bfloat16 to bfloat16: even elements in one register, odd ones in the next. Widening and packing
// are then one shift and one mask each.
struct WholeBf16Pairs : WholeBf16Bits {
  static __m256i pack_two(F even, F odd) {
    const TwoRounded x = round_two_bf16(even, odd);
    return _mm256_blend_epi16(_mm256_srli_epi32(x.a, 16), x.b, 0xaa);
  }
  static Packed pack(const Line& x) { return {pack_two(x.v[0], x.v[1]), pack_two(x.v[2], x.v[3])}; }
  static F even(__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
  static F odd(__m256i x) {
    const __m256i upper_half = _mm256_set1_epi32(static_cast<int>(0xffff0000));
    return _mm256_castsi256_ps(_mm256_and_si256(x, upper_half));
  }
  static Line unpack(const Packed& x) {
    return {even(x.v[0]), odd(x.v[0]), even(x.v[1]), odd(x.v[1])};
  }
  static void lanes(const Line& x, float* lane) {
    alignas(32) float in_four[4][8];
    for (int i = 0; i < kRegs; ++i) _mm256_store_ps(in_four[i], x.v[i]);
    for (int i = 0; i < 32; ++i) lane[i] = in_four[i / 16 * 2 + i % 2][i % 16 / 2];
  }
};

using Fp16 = Typed<WholeFp16>;
using Bf16 = Typed<WholeBf16>;
using Bf16Pairs = Typed<WholeBf16Pairs>;

struct Float32 : InFloats<Avx2> {
  static void stream(float* p, const Line& x) {
    for (int i = 0; i < kRegs; ++i) _mm256_stream_ps(p + 8 * i, x.v[i]);
  }
};

}  // namespace
}  // namespace weft::rows
