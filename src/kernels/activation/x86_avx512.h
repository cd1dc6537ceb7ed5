// SPDX-License-Identifier: Apache-2.0
// What exp.h asks of a register of AVX-512, beside what the rows family has. Included by AVX-512
// files alone.
#pragma once

#include "kernels/rows/x86_avx512.h"

namespace weft::activation {
namespace {

template <class Rows>
struct Avx512 : Rows {
  using F = __m512;
  static F negative(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  static F larger(F a, F b) { return _mm512_max_ps(a, b); }
  static F smaller(F a, F b) { return _mm512_min_ps(a, b); }
  static F scaled(F p, F n) { return _mm512_scalef_ps(p, n); }
};

}  // namespace
}  // namespace weft::activation
