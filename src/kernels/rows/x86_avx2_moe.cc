// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/generic_moe.h"
#include "kernels/rows/x86_avx2.h"

namespace weft::rows {
namespace {

template <class Rows>
struct Moe : Rows {
  using F = __m256;
  using typename Rows::Bytes;
  using typename Rows::Line;

  template <class Count>
  static Line load_floats(const float* p, Count count) {
    return Rows::load_f32(p, count);
  }
  static F larger(F a, F b) { return _mm256_max_ps(a, b); }
  static F smaller(F a, F b) { return _mm256_min_ps(a, b); }
  static F magnitude(F x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
  static __m256i nearest_s32(F x) {
    return _mm256_cvtps_epi32(_mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q)));
  }
  static Bytes nearest_bytes(const Line& x) {
    return Rows::saturated(nearest_s32(x.v[0]), nearest_s32(x.v[1]), nearest_s32(x.v[2]),
                           nearest_s32(x.v[3]));
  }
  static Line group_max(Line x) {
    for (F& f : x.v) {
      f = larger(f, _mm256_permute2f128_ps(f, f, 1));
      f = larger(f, _mm256_permute_ps(f, 0x4e));
      f = larger(f, _mm256_permute_ps(f, 0xb1));
    }
    return x;
  }
  static Line load_groups(const U16* p, int groups) {
    Line r = zero_line<Rows>();
    for (int i = 0; i < groups; ++i) r.v[i] = Rows::fill(p + i).v[0];
    return r;
  }
};

struct Bf16PairsMoe : Bf16Pairs {
  // The shuffles work within 128-bit halves: put the quarters in order.
  static F in_order(F x) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
  }
  static F even(F a, F b) { return in_order(_mm256_shuffle_ps(a, b, 0x88)); }
  static F odd(F a, F b) { return in_order(_mm256_shuffle_ps(a, b, 0xdd)); }
  template <class Count>
  static Line load_floats(const float* p, Count count) {
    const Line x = load_f32(p, count);
    return {even(x.v[0], x.v[1]), odd(x.v[0], x.v[1]), even(x.v[2], x.v[3]), odd(x.v[2], x.v[3])};
  }
};

}  // namespace

WEFT_ROWS_DEFINE_MOE(float16_avx2, Moe<Fp16>, Moe<Fp16>)
WEFT_ROWS_DEFINE_MOE(bfloat16_avx2, Moe<Bf16>, Bf16PairsMoe)

}  // namespace weft::rows
