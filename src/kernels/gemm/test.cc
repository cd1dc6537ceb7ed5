// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kernels/gemm/gemm.h"

namespace weft::gemm {
namespace {
TEST(Gemm, EveryTypeHasAKernelEverywhere) {
  for (DType type : {DType::kFloat16, DType::kBFloat16, DType::kInt8})
    EXPECT_NE(select(type, isa::kScalar), nullptr) << to_string(type);
}
}  // namespace
}  // namespace weft::gemm
