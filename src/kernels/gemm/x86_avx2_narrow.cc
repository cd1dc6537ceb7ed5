// SPDX-License-Identifier: Apache-2.0
// Few rows. 4 x 16 or 8 x 8 sums leave eight registers for words and scales.
#include "kernels/gemm/generic_narrow.h"
#include "kernels/gemm/x86_avx2.h"

namespace weft::gemm {
namespace {

constexpr int kNr = 16, kMostSums = 8;
using Counts = RowCounts<1, 2, 4, 8, 16>;
template <DType T, int kBits>
using From = Stored<YmmFloat, T, kBits, F32Dot::kStep>;
template <class Weights>
bool narrow_f32(const Narrow& p) {
  return narrow<F32Dot, Weights, Counts, kNr, kMostSums>(p);
}

}  // namespace

void pack_x_f16_avx2(const PackA& p) { pack_x<F16, Counts>(p); }
bool narrow_f16_avx2(const Narrow& p) { return narrow_f32<Plain<F16>>(p); }
bool narrow_f16_int8_avx2(const Narrow& p) { return narrow_f32<From<DType::kFloat16, 8>>(p); }
bool narrow_f16_int4_avx2(const Narrow& p) { return narrow_f32<From<DType::kFloat16, 4>>(p); }

void pack_x_bf16_avx2(const PackA& p) { pack_x<Bf16, Counts>(p); }
bool narrow_bf16_avx2(const Narrow& p) { return narrow_f32<Plain<Bf16>>(p); }
bool narrow_bf16_int8_avx2(const Narrow& p) { return narrow_f32<From<DType::kBFloat16, 8>>(p); }
bool narrow_bf16_int4_avx2(const Narrow& p) { return narrow_f32<From<DType::kBFloat16, 4>>(p); }

void pack_x_s8_avx2(const PackA& p) { pack_x<S8, Counts>(p); }
bool narrow_s8_avx2(const Narrow& p) {
  return narrow<S16Dot, Plain<S8>, Counts, kNr, kMostSums>(p);
}

}  // namespace weft::gemm
