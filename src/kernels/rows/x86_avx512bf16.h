// SPDX-License-Identifier: Apache-2.0
// bfloat16 packed by the conversion instruction, a third of the work of the integer arithmetic in
// x86_avx512.h. It rounds the same way but for denormals, which it makes zero: a line in which a
// result is zero is packed the other way. Included by AVX512-BF16 files alone.
#pragma once

#include "kernels/rows/x86_avx512.h"

namespace weft::rows {
namespace {

/// Both halves of a line, the lower one first.
inline __m512i convert_bf16(const Avx512::Line& x) {
  return __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(x.v[1], x.v[0]));
}
inline bool has_zero(__m512i bf16) {
  return _mm512_testn_epi16_mask(bf16, _mm512_set1_epi16(0x7fff)) != 0;
}

template <class Integers>
[[gnu::noinline, gnu::cold]] typename Integers::Packed pack_exactly(__m512 lower, __m512 upper) {
  return Integers::pack({lower, upper});
}

struct ConvertedBf16 : Bf16 {
  static Packed pack(const Line& x) {
    const __m512i bits = convert_bf16(x);
    if (has_zero(bits)) [[unlikely]]
      return pack_exactly<Bf16>(x.v[0], x.v[1]);
    return {bits};
  }
};

struct ConvertedBf16Pairs : Bf16Pairs {
  static Packed pack(const Line& x) {
    const __m512i bits = convert_bf16(x);  // the even elements, then the odd ones
    if (has_zero(bits)) [[unlikely]]
      return pack_exactly<Bf16Pairs>(x.v[0], x.v[1]);
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return {_mm512_permutexvar_epi16(order, bits)};
  }
};

}  // namespace
}  // namespace weft::rows
