// SPDX-License-Identifier: Apache-2.0
// Few rows and a weight of whole rows. 2 x 64 sums, 8 x 32 or, of a weight that is
// restored, 8 x 48; more rows by turns of 6 or 8, with 48 columns.
#include "kernels/gemm/generic_narrow_rows.h"
#include "kernels/gemm/generic_stored_rows.h"
#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

constexpr Sums kSums{24, 4, 8};
using Counts = RowCounts<1, 2, 4, 8, 12, 16>;
template <DType T, int kBits>
using From = StoredRows<ZmmFloat, T, kBits>;
template <class Weights>
bool rows_f32(const Narrow& p) {
  return narrow_rows<F32Dot, Weights, Counts, kSums>(p);
}

}  // namespace

bool narrow_rows_f16_avx512(const Narrow& p) { return rows_f32<PlainRows<F16>>(p); }
bool narrow_rows_f16_int8_avx512(const Narrow& p) { return rows_f32<From<DType::kFloat16, 8>>(p); }
bool narrow_rows_f16_int4_avx512(const Narrow& p) { return rows_f32<From<DType::kFloat16, 4>>(p); }

bool narrow_rows_bf16_avx512(const Narrow& p) { return rows_f32<PlainRows<Bf16>>(p); }
bool narrow_rows_bf16_int8_avx512(const Narrow& p) {
  return rows_f32<From<DType::kBFloat16, 8>>(p);
}
bool narrow_rows_bf16_int4_avx512(const Narrow& p) {
  return rows_f32<From<DType::kBFloat16, 4>>(p);
}

bool narrow_rows_s8_avx512(const Narrow& p) {
  return narrow_rows<S16Dot, PlainRows<S8>, Counts, kSums>(p);
}

}  // namespace weft::gemm
