// SPDX-License-Identifier: Apache-2.0
// Few rows. 12 x 32 sums leave eight registers for words and scales; 16 rows take 16 columns at a
// time.
#include "kernels/gemm/generic_narrow.h"
#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

constexpr int kNr = 32, kMostSums = 24;
using Counts = RowCounts<1, 2, 4, 8, 12, 16>;
template <DType T, int kBits>
using From = Stored<ZmmFloat, T, kBits, F32Dot::kStep>;
template <class Weights>
bool narrow_f32(const Narrow& p) {
  return narrow<F32Dot, Weights, Counts, kNr, kMostSums>(p);
}

}  // namespace

void pack_x_f16_avx512(const PackA& p) { pack_x<F16, Counts>(p); }
bool narrow_f16_avx512(const Narrow& p) { return narrow_f32<Plain<F16>>(p); }
bool narrow_f16_int8_avx512(const Narrow& p) { return narrow_f32<From<DType::kFloat16, 8>>(p); }
bool narrow_f16_int4_avx512(const Narrow& p) { return narrow_f32<From<DType::kFloat16, 4>>(p); }

void pack_x_bf16_avx512(const PackA& p) { pack_x<Bf16, Counts>(p); }
bool narrow_bf16_avx512(const Narrow& p) { return narrow_f32<Plain<Bf16>>(p); }
bool narrow_bf16_int8_avx512(const Narrow& p) { return narrow_f32<From<DType::kBFloat16, 8>>(p); }
bool narrow_bf16_int4_avx512(const Narrow& p) { return narrow_f32<From<DType::kBFloat16, 4>>(p); }

void pack_x_s8_avx512(const PackA& p) { pack_x<S8, Counts>(p); }
bool narrow_s8_avx512(const Narrow& p) {
  return narrow<S16Dot, Plain<S8>, Counts, kNr, kMostSums>(p);
}

}  // namespace weft::gemm
