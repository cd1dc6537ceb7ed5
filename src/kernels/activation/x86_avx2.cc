// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/x86_avx2.h"

#include "kernels/activation/generic.h"

namespace weft::activation {
namespace {

struct Fp16 : Avx2<rows::Fp16> {
  static constexpr int kLinesAtOnce = 1;
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
  static constexpr int kLinesAtOnce = 1;
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
