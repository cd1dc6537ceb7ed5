// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/x86_avx512vnni.h"

namespace weft::gemm {
namespace {

constexpr int kMr = 14;

}  // namespace

void tile_s8_avx512vnni(const Tile& t) { tile<U8S8Dot, kMr, kNr>(t); }
void pack_a_s8_avx512vnni(const PackA& args) { pack_a<SourceA, kMr>(args); }
void pack_b_s8_avx512vnni(const PackB& args) { pack_b<SourceB, kNr>(args); }
void pack_bt_s8_avx512vnni(const PackB& args) { pack_bt<SourceB, kNr>(args); }

}  // namespace weft::gemm
