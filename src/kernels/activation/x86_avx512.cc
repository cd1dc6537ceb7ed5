// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/x86_avx512.h"

#include "kernels/activation/generic.h"

namespace weft::activation {
namespace {

struct Fp16 : Avx512<rows::Fp16> {
  static constexpr int kLinesAtOnce = 2;
  // A tie has zeros below the half of the last place: with a one there it is no tie, and nothing
  // else changes, except that infinity would be nan.
  static F odd(F x) {
    const __mmask16 infinite = _mm512_fpclass_ps_mask(x, 0x18);
    const __m512i bits = _mm512_castps_si512(x);
    return _mm512_castsi512_ps(
        _mm512_mask_or_epi32(bits, _knot_mask16(infinite), bits, _mm512_set1_epi32(1)));
  }
  static Packed pack_away(const Line& x) { return pack({odd(x.v[0]), odd(x.v[1])}); }
};

struct Bf16 : Avx512<rows::Bf16> {
  static constexpr int kLinesAtOnce = 2;
  // The upper halves are the result. Nan is made quiet and keeps its upper bits.
  static __m512i round_away(F x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i r = _mm512_add_epi32(bits, _mm512_set1_epi32(0x8000));
    return _mm512_mask_or_epi32(r, nan, bits, _mm512_set1_epi32(0x400000));
  }
  static Packed pack_away(const Line& x) {
    return upper_halves(round_away(x.v[0]), round_away(x.v[1]));
  }
};

}  // namespace

WEFT_ACTIVATION_DEFINE(avx512, Fp16, Bf16)

}  // namespace weft::activation
