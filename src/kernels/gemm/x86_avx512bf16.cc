// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/x86_avx512bf16.h"

namespace weft::gemm {
namespace {

constexpr int kMr = 14, kNr = 32;

}  // namespace

void tile_bf16_avx512bf16(const Tile& t) { tile<Bf16Dot, kMr, kNr>(t); }
void pack_a_bf16_avx512bf16(const PackA& args) { pack_a<Bf16Pairs, kMr>(args); }
void pack_b_bf16_avx512bf16(const PackB& args) { pack_b<Bf16Pairs, kNr>(args); }
void pack_bt_bf16_avx512bf16(const PackB& args) { pack_bt<Bf16Pairs, kNr>(args); }

}  // namespace weft::gemm
