// SPDX-License-Identifier: Apache-2.0
#include "unfused/local_gemm.h"

namespace weft::bench {

Result<LocalGemm> LocalGemm::plan(Context& context, const ops::MatmulOperands& operands, DType io) {
  LocalGemm gemm;
  const std::int64_t m = ops::rows_of(operands.x1);
  gemm.row_bytes_ = round_up(operands.weight_n() * 2, kCacheLine);
  WEFT_ASSIGN_OR_RETURN(gemm.local_, ops::LocalMatmul::plan(context.state(), operands, io, m, 1));
  WEFT_ASSIGN_OR_RETURN(gemm.product_, Buffer::allocate(m * gemm.row_bytes_, "the product"));
  return gemm;
}

void LocalGemm::run(const ops::MatmulOperands& operands, bool read_soon) {
  // Past the cache where the fused operator does so too: not for a decode step.
  constexpr std::int64_t kLarge = 4 << 20;
  local_.bind(operands);
  const ops::PartialRun all[] = {{{0, local_.m()}, product_.data()}};
  const bool past = product_.bytes() > kLarge && !read_soon;
  local_.compute({all, row_bytes_, past ? rows::Store::kStream : rows::Store::kPlain});
  rows::stream_fence();
}

}  // namespace weft::bench
