// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/x86_avx2.h"

#include "kernels/activation/generic.h"

namespace weft::activation {
namespace {

template <class Rows>
struct Avx2 : Rows {
  using F = __m256;
  static constexpr int kLinesAtOnce = 1;
  static F negative(F a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  static F larger(F a, F b) { return _mm256_max_ps(a, b); }
  static F smaller(F a, F b) { return _mm256_min_ps(a, b); }
  // By 2^(n / 2), which is exact and so may be added to the exponent, and by 2^(n - n / 2).
  static F scaled(F p, F n) {
    const __m256i all = _mm256_cvtps_epi32(n), part = _mm256_srai_epi32(all, 1);
    const __m256i rest = _mm256_sub_epi32(all, part);
    const __m256i q = _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(part, 23));
    const __m256i two_to_rest =
        _mm256_add_epi32(_mm256_slli_epi32(rest, 23), _mm256_set1_epi32(0x3f800000));
    return _mm256_mul_ps(_mm256_castsi256_ps(q), _mm256_castsi256_ps(two_to_rest));
  }
};

struct Fp16 : Avx2<rows::Fp16> {
  // A tie has zeros below the half of the last place: with a one there it is no tie, and nothing
  // else changes, except that infinity would be nan.
  static F odd(F x) {
    const __m256 infinity = _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000));
    const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    const __m256 other = _mm256_cmp_ps(magnitude, infinity, _CMP_NEQ_UQ);
    const __m256 one = _mm256_castsi256_ps(_mm256_set1_epi32(1));
    return _mm256_or_ps(x, _mm256_and_ps(other, one));
  }
  static Packed pack_away(const Line& x) {
    return pack({odd(x.v[0]), odd(x.v[1]), odd(x.v[2]), odd(x.v[3])});
  }
};

struct Bf16 : Avx2<rows::Bf16> {
  // The upper halves are the result. Nan is made quiet and keeps its upper bits.
  static __m256i round_away(F x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(_mm256_add_epi32(bits, _mm256_set1_epi32(0x8000)),
                              _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)),
                              _mm256_castps_si256(nan));
  }
  static Packed pack_away(const Line& x) {
    return {upper_halves(round_away(x.v[0]), round_away(x.v[1])),
            upper_halves(round_away(x.v[2]), round_away(x.v[3]))};
  }
};

}  // namespace

WEFT_ACTIVATION_DEFINE(avx2, Fp16, Bf16)

}  // namespace weft::activation
