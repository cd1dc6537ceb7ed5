// SPDX-License-Identifier: Apache-2.0
// Few rows. Up to 4 are multiplied with transposed pieces: 4 x 16 sums leave eight registers for
// words and scales. 8 or 16 are one or two vectors.
#include "kernels/gemm/generic_narrow_lanes.h"
#include "kernels/gemm/generic_narrow_pieces.h"
#include "kernels/gemm/x86_avx2.h"

namespace weft::gemm {
namespace {

using Counts = RowCounts<1, 2, 4, 8, 16>;
template <DType T, int kBits>
using From = Stored<YmmFloat, T, kBits, F32Dot::kStep>;
template <DType T, int kBits>
using RunFrom = StoredRun<YmmFloat, T, kBits>;

template <class Dot, class Weights, class Run>
bool narrow_with(const Narrow& p) {
  return Counts::with(p.m, [&]<int rows>() {
    // Restoring takes registers too.
    constexpr int kSums = Run::kRestored ? 8 : 12;
    if constexpr (rows >= Dot::kLanes)
      return narrow_lanes<Dot, Run, rows, kSums / (rows / Dot::kLanes)>(p);
    else
      return narrow_pieces<Dot, Weights, rows>(p);
  });
}
template <DType T, int kBits>
bool narrow_from(const Narrow& p) {
  return narrow_with<F32Dot, From<T, kBits>, RunFrom<T, kBits>>(p);
}
template <class Dot, class Source>
bool narrow_plain(const Narrow& p) {
  return narrow_with<Dot, Plain<Source>, PlainRun<Source>>(p);
}

}  // namespace

void pack_x_f16_avx2(const PackA& p) { pack_x<F16, Counts>(p); }
bool narrow_f16_avx2(const Narrow& p) { return narrow_plain<F32Dot, F16>(p); }
bool narrow_f16_int8_avx2(const Narrow& p) { return narrow_from<DType::kFloat16, 8>(p); }
bool narrow_f16_int4_avx2(const Narrow& p) { return narrow_from<DType::kFloat16, 4>(p); }

void pack_x_bf16_avx2(const PackA& p) { pack_x<Bf16, Counts>(p); }
bool narrow_bf16_avx2(const Narrow& p) { return narrow_plain<F32Dot, Bf16>(p); }
bool narrow_bf16_int8_avx2(const Narrow& p) { return narrow_from<DType::kBFloat16, 8>(p); }
bool narrow_bf16_int4_avx2(const Narrow& p) { return narrow_from<DType::kBFloat16, 4>(p); }

void pack_x_s8_avx2(const PackA& p) { pack_x<S8, Counts>(p); }
bool narrow_s8_avx2(const Narrow& p) { return narrow_plain<S16Dot, S8>(p); }

}  // namespace weft::gemm
