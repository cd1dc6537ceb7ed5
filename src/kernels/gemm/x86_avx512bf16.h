// SPDX-License-Identifier: Apache-2.0
// vdpbf16ps: two bfloat16 products per word, added to fp32. It takes subnormal operands as zero,
// flushes subnormal results and rounds in its own order, so its bits are not those of the fp32
// kernels.
#pragma once

#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

struct Bf16Dot : F32Acc {
  static constexpr int kStep = 2;
  static Acc dot(Acc acc, Vec a, Vec b) {
    return _mm512_dpbf16_ps(acc, __builtin_bit_cast(__m512bh, a), __builtin_bit_cast(__m512bh, b));
  }
};

struct HalfBf16Dot : HalfF32Acc {
  static constexpr int kStep = Bf16Dot::kStep;
  static Acc dot(Acc acc, Vec a, Vec b) {
    return _mm256_dpbf16_ps(acc, __builtin_bit_cast(__m256bh, a), __builtin_bit_cast(__m256bh, b));
  }
};

/// Restored values as words: two adjacent lanes make one, those of x come first.
struct Bf16Words : ZmmFloat {
  /// The instruction flushes subnormals.
  static Vec normal(F x, F y) { return (Vec)_mm512_cvtne2ps_pbh(y, x); }
  static Vec exact(F x, F y) {
    const Vec upper_halves =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_epi16(round<DType::kBFloat16>(x), upper_halves,
                                     round<DType::kBFloat16>(y));
  }
  /// The smallest magnitude but zero that (an integer + offset) * scale has, or less.
  static F least_product(F scale, F offset) {
    const F part = _mm512_abs_ps(fraction(offset));
    const F least = _mm512_mask_mov_ps(
        part, _mm512_cmp_ps_mask(part, broadcast_float(0), _CMP_EQ_OQ), broadcast_float(1));
    return _mm512_abs_ps(mul(least, scale));
  }
  static constexpr float kSurelyNormal = 0x1p-90f;
};

}  // namespace
}  // namespace weft::gemm
