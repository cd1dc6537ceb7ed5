// SPDX-License-Identifier: Apache-2.0
// 6 x 16: 12 of the 16 registers hold sums, two hold B, one a word of A and one a product.
#include "kernels/gemm/x86_avx2.h"

namespace weft::gemm {
namespace {

constexpr int kMr = 6, kNr = 16;

}  // namespace

void tile_f32_avx2(const Tile& t) { tile<F32Dot, kMr, kNr>(t); }
void tile_s16_avx2(const Tile& t) { tile<S16Dot, kMr, kNr>(t); }
void pack_a_f16_avx2(const PackA& args) { pack_a<F16, kMr>(args); }
void pack_b_f16_avx2(const PackB& args) { pack_b<F16, kNr>(args); }
void pack_bt_f16_avx2(const PackB& args) { pack_bt<F16, kNr>(args); }
void pack_a_bf16_avx2(const PackA& args) { pack_a<Bf16, kMr>(args); }
void pack_b_bf16_avx2(const PackB& args) { pack_b<Bf16, kNr>(args); }
void pack_bt_bf16_avx2(const PackB& args) { pack_bt<Bf16, kNr>(args); }
void pack_a_s8_avx2(const PackA& args) { pack_a<S8, kMr>(args); }
void pack_b_s8_avx2(const PackB& args) { pack_b<S8, kNr>(args); }
void pack_bt_s8_avx2(const PackB& args) { pack_bt<S8, kNr>(args); }

}  // namespace weft::gemm
