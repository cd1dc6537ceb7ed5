// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/x86_avx512bf16.h"

#include "kernels/rows/generic_norm.h"
#include "kernels/rows/x86_avx512_moe.h"

namespace weft::rows {

WEFT_ROWS_DEFINE(bfloat16_avx512bf16, ConvertedBf16, ConvertedBf16Pairs)
WEFT_ROWS_DEFINE_NORM(bfloat16_avx512bf16, ConvertedBf16Pairs)
WEFT_ROWS_DEFINE_MOE(bfloat16_avx512bf16, Moe<ConvertedBf16>, PairsMoe<ConvertedBf16Pairs>)

}  // namespace weft::rows
