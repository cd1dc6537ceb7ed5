// SPDX-License-Identifier: Apache-2.0
// Few rows. Up to 4 are multiplied with transposed pieces; 12 or 16 are a vector, and 8 a short one
// unless the weight is restored: then pieces leave more time for that.
#include "kernels/gemm/generic_narrow_lanes.h"
#include "kernels/gemm/generic_narrow_pieces.h"
#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

using Counts = RowCounts<1, 2, 4, 8, 12, 16>;

template <class Dot, class HalfDot, class Weights, class Run>
bool narrow_with(const Narrow& p) {
  return Counts::with(p.m, [&]<int rows>() {
    if constexpr (rows > 8)
      return narrow_lanes<Dot, Run, rows, 16>(p);
    else if constexpr (rows == 8 && !Run::kRestored)
      return narrow_lanes<HalfDot, Run, rows, 16>(p);
    else
      return narrow_pieces<Dot, Weights, rows>(p);
  });
}
template <DType T, int kBits>
bool narrow_from(const Narrow& p) {
  return narrow_with<F32Dot, HalfF32Dot, Stored<ZmmFloat, T, kBits, F32Dot::kStep>,
                     StoredRun<ZmmFloat, T, kBits>>(p);
}
template <class Dot, class HalfDot, class Source>
bool narrow_plain(const Narrow& p) {
  return narrow_with<Dot, HalfDot, Plain<Source>, PlainRun<Source>>(p);
}

}  // namespace

void pack_x_f16_avx512(const PackA& p) { pack_x<F16, Counts>(p); }
bool narrow_f16_avx512(const Narrow& p) { return narrow_plain<F32Dot, HalfF32Dot, F16>(p); }
bool narrow_f16_int8_avx512(const Narrow& p) { return narrow_from<DType::kFloat16, 8>(p); }
bool narrow_f16_int4_avx512(const Narrow& p) { return narrow_from<DType::kFloat16, 4>(p); }

void pack_x_bf16_avx512(const PackA& p) { pack_x<Bf16, Counts>(p); }
bool narrow_bf16_avx512(const Narrow& p) { return narrow_plain<F32Dot, HalfF32Dot, Bf16>(p); }
bool narrow_bf16_int8_avx512(const Narrow& p) { return narrow_from<DType::kBFloat16, 8>(p); }
bool narrow_bf16_int4_avx512(const Narrow& p) { return narrow_from<DType::kBFloat16, 4>(p); }

void pack_x_s8_avx512(const PackA& p) { pack_x<S8, Counts>(p); }
bool narrow_s8_avx512(const Narrow& p) { return narrow_plain<S16Dot, HalfS16Dot, S8>(p); }

}  // namespace weft::gemm
