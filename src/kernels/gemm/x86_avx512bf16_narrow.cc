// SPDX-License-Identifier: Apache-2.0
// Few rows, as in x86_avx512_narrow.cc.
#include "kernels/gemm/generic_narrow.h"
#include "kernels/gemm/x86_avx512bf16.h"

namespace weft::gemm {
namespace {

constexpr int kNr = 32, kMostSums = 24;
using Counts = RowCounts<1, 2, 4, 8, 12, 16>;
template <int kBits>
using From = Stored<ZmmFloat, DType::kBFloat16, kBits, Bf16Dot::kStep>;
template <class Weights>
bool narrow_pairs(const Narrow& p) {
  return narrow<Bf16Dot, Weights, Counts, kNr, kMostSums>(p);
}

}  // namespace

void pack_x_bf16_avx512bf16(const PackA& p) { pack_x<Bf16Pairs, Counts>(p); }
bool narrow_bf16_avx512bf16(const Narrow& p) { return narrow_pairs<Plain<Bf16Pairs>>(p); }
bool narrow_bf16_int8_avx512bf16(const Narrow& p) { return narrow_pairs<From<8>>(p); }
bool narrow_bf16_int4_avx512bf16(const Narrow& p) { return narrow_pairs<From<4>>(p); }

}  // namespace weft::gemm
