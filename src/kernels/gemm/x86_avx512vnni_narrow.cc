// SPDX-License-Identifier: Apache-2.0
// Few rows, as in x86_avx512_narrow.cc. What the header of a packed panel holds is summed up on the
// way.
#include "kernels/gemm/generic_narrow_lanes.h"
#include "kernels/gemm/generic_narrow_pieces.h"
#include "kernels/gemm/x86_avx512vnni.h"

namespace weft::gemm {
namespace {

using Counts = RowCounts<1, 2, 4, 8, 12, 16>;

}  // namespace

void pack_x_s8_avx512vnni(const PackA& p) { pack_x<SourceA, Counts>(p); }
bool narrow_s8_avx512vnni(const Narrow& p) {
  return Counts::with(p.m, [&]<int rows>() {
    if constexpr (rows > 8)
      return narrow_lanes<U8S8Dot, PlainRun<SourceB>, rows, 16>(p);
    else if constexpr (rows == 8)
      return narrow_lanes<HalfU8S8Dot, PlainRun<SourceB>, rows, 16>(p);
    else
      return narrow_pieces<U8S8Dot, Plain<SourceB>, rows>(p);
  });
}

}  // namespace weft::gemm
