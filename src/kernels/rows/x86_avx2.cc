// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/x86_avx2.h"

#include "kernels/rows/generic_norm.h"

namespace weft::rows {

WEFT_ROWS_DEFINE(float16_avx2, Fp16, Fp16)
WEFT_ROWS_DEFINE(bfloat16_avx2, Bf16, Bf16Pairs)
WEFT_ROWS_DEFINE_NORM(float16_avx2, Fp16)
WEFT_ROWS_DEFINE_NORM(bfloat16_avx2, Bf16Pairs)
WEFT_ROWS_DEFINE_NORM(float32_avx2, Float32)

}  // namespace weft::rows
