// SPDX-License-Identifier: Apache-2.0
// What generic_moe.h asks beyond generic.h. Included by AVX-512 files alone.
#pragma once

#include "kernels/rows/generic_moe.h"
#include "kernels/rows/x86_avx512.h"

namespace weft::rows {
namespace {

template <class Rows>
struct Moe : Rows {
  using F = __m512;
  using typename Rows::Bytes;
  using typename Rows::Line;

  template <class Count>
  static Line load_floats(const float* p, Count count) {
    return Rows::load_f32(p, count);
  }
  static F larger(F a, F b) { return _mm512_max_ps(a, b); }
  static F smaller(F a, F b) { return _mm512_min_ps(a, b); }
  static F magnitude(F x) { return _mm512_abs_ps(x); }
  static __m128i nearest_s8(F x) {
    const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    return _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(number, x));
  }
  static Bytes nearest_bytes(const Line& x) {
    return _mm256_set_m128i(nearest_s8(x.v[1]), nearest_s8(x.v[0]));
  }
  static Line group_max(Line x) {
    for (F& f : x.v) {
      f = larger(f, _mm512_shuffle_f32x4(f, f, 0xb1));
      f = larger(f, _mm512_permute_ps(f, 0x4e));
      f = larger(f, _mm512_permute_ps(f, 0xb1));
    }
    return x;
  }
  static Line load_groups(const U16* p, int groups) {
    const F four = Rows::load(p, groups).v[0];
    const __m512i first_two = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i last_two = _mm512_add_epi32(first_two, _mm512_set1_epi32(2));
    return {_mm512_permutexvar_ps(first_two, four), _mm512_permutexvar_ps(last_two, four)};
  }
};

template <class Pairs>
struct PairsMoe : Pairs {
  using typename Pairs::Line;

  template <class Count>
  static Line load_floats(const float* p, Count count) {
    const Line x = Pairs::load_f32(p, count);
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return {_mm512_permutex2var_ps(x.v[0], even, x.v[1]),
            _mm512_permutex2var_ps(x.v[0], odd, x.v[1])};
  }
};

}  // namespace

}  // namespace weft::rows
