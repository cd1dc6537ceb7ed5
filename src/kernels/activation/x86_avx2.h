// SPDX-License-Identifier: Apache-2.0
// What exp.h asks of a register of AVX2, beside what the rows family has. Included by AVX2 files
// alone.
#pragma once

#include "kernels/rows/x86_avx2.h"

namespace weft::activation {
namespace {

template <class Rows>
struct Avx2 : Rows {
  using F = __m256;
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

}  // namespace
}  // namespace weft::activation
