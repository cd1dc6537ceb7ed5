// SPDX-License-Identifier: Apache-2.0
// Few rows, as in x86_avx512_narrow.cc. What the header of a packed panel holds is summed up on the
// way.
#include "kernels/gemm/generic_narrow.h"
#include "kernels/gemm/x86_avx512vnni.h"

namespace weft::gemm {
namespace {

constexpr int kMostSums = 24;
using Counts = RowCounts<1, 2, 4, 8, 12, 16>;

}  // namespace

void pack_x_s8_avx512vnni(const PackA& p) { pack_x<SourceA, Counts>(p); }
bool narrow_s8_avx512vnni(const Narrow& p) {
  return narrow<U8S8Dot, Plain<SourceB>, Counts, kNr, kMostSums>(p);
}

}  // namespace weft::gemm
