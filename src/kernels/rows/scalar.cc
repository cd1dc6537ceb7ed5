// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/scalar.h"

#include "kernels/rows/generic_norm.h"

namespace weft::rows {

WEFT_ROWS_DEFINE(float16_scalar, Scalar<Fp16Bits>, Scalar<Fp16Bits>)
WEFT_ROWS_DEFINE(bfloat16_scalar, Scalar<Bf16Bits>, Scalar<Bf16Bits>)
WEFT_ROWS_DEFINE_NORM(float16_scalar, Scalar<Fp16Bits>)
WEFT_ROWS_DEFINE_NORM(bfloat16_scalar, Scalar<Bf16Bits>)
WEFT_ROWS_DEFINE_NORM(float32_scalar, Float32)

}  // namespace weft::rows
