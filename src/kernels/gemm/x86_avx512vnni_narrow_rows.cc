// SPDX-License-Identifier: Apache-2.0
// Few rows and a weight of whole rows, as in x86_avx512_narrow_rows.cc but for
// turns: interleaving costs little more than keeping.
#include "kernels/gemm/generic_narrow_rows.h"
#include "kernels/gemm/x86_avx512vnni.h"

namespace weft::gemm {
namespace {

constexpr Sums kSums{24, 4, 16};
using Counts = RowCounts<1, 2, 4, 8, 12, 16>;

}  // namespace

bool narrow_rows_s8_avx512vnni(const Narrow& p) {
  return narrow_rows<U8S8Dot, PlainRows<SourceB>, Counts, kSums>(p);
}

}  // namespace weft::gemm
