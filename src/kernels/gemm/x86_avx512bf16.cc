// SPDX-License-Identifier: Apache-2.0
// vdpbf16ps: two bfloat16 products per word, added to fp32. It takes subnormal operands as zero,
// flushes subnormal results and rounds in its own order, so its bits are not those of the fp32
// kernels.
#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

constexpr int kMr = 14, kNr = 32;

struct Bf16Dot : F32Acc {
  static constexpr int kStep = 2;
  static Acc dot(Acc acc, Vec a, Vec b) {
    return _mm512_dpbf16_ps(acc, __builtin_bit_cast(__m512bh, a), __builtin_bit_cast(__m512bh, b));
  }
};

}  // namespace

void tile_bf16_avx512bf16(const Tile& t) { tile<Bf16Dot, kMr, kNr>(t); }
void pack_a_bf16_avx512bf16(const PackA& args) { pack_a<Bf16Pairs, kMr>(args); }
void pack_b_bf16_avx512bf16(const PackB& args) { pack_b<Bf16Pairs, kNr>(args); }
void pack_bt_bf16_avx512bf16(const PackB& args) { pack_bt<Bf16Pairs, kNr>(args); }

}  // namespace weft::gemm
