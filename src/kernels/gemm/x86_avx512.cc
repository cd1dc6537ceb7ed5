// SPDX-License-Identifier: Apache-2.0
// 14 x 32: 28 of the 32 registers hold sums, two hold B and one a word of A. Per step that is 16
// loads for 28 multiply-adds, so the loads (two per cycle, as the multiply-adds) never limit.
#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

constexpr int kMr = 14, kNr = 32;

}  // namespace

void tile_f32_avx512(const Tile& t) { tile<F32Dot, kMr, kNr>(t); }
void tile_s16_avx512(const Tile& t) { tile<S16Dot, kMr, kNr>(t); }
void pack_a_f16_avx512(const PackA& args) { pack_a<F16, kMr>(args); }
void pack_b_f16_avx512(const PackB& args) { pack_b<F16, kNr>(args); }
void pack_bt_f16_avx512(const PackB& args) { pack_bt<F16, kNr>(args); }
void pack_a_bf16_avx512(const PackA& args) { pack_a<Bf16, kMr>(args); }
void pack_b_bf16_avx512(const PackB& args) { pack_b<Bf16, kNr>(args); }
void pack_bt_bf16_avx512(const PackB& args) { pack_bt<Bf16, kNr>(args); }
void pack_a_s8_avx512(const PackA& args) { pack_a<S8, kMr>(args); }
void pack_b_s8_avx512(const PackB& args) { pack_b<S8, kNr>(args); }
void pack_bt_s8_avx512(const PackB& args) { pack_bt<S8, kNr>(args); }

}  // namespace weft::gemm
