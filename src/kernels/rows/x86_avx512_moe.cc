// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/x86_avx512_moe.h"

namespace weft::rows {

WEFT_ROWS_DEFINE_MOE(float16_avx512, Moe<Fp16>, Moe<Fp16>)
WEFT_ROWS_DEFINE_MOE(bfloat16_avx512, Moe<Bf16>, PairsMoe<Bf16Pairs>)

}  // namespace weft::rows
