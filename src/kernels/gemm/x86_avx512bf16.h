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

}  // namespace
}  // namespace weft::gemm
