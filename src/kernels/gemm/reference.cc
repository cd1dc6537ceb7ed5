// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "base/float16.h"
#include "kernels/gemm/gemm.h"

namespace weft::gemm {
namespace {

double value(DType type, const void* data, std::int64_t index) {
  switch (type) {
    case DType::kFloat16:
      return fp16_to_f32(static_cast<const std::uint16_t*>(data)[index]);
    case DType::kBFloat16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(data)[index]);
    default:
      return static_cast<const std::int8_t*>(data)[index];
  }
}

}  // namespace

void reference(const Reference& args) {
  // Each operand is converted once; the conversions cost far more than the multiplications.
  std::vector<double> b(static_cast<std::size_t>(args.k * args.n));
  for (std::int64_t p = 0; p < args.k; ++p)
    for (std::int64_t j = 0; j < args.n; ++j)
      b[p * args.n + j] = value(args.type, args.b, p * args.b_row + j * args.b_col);
  for (std::int64_t i = 0; i < args.m; ++i) {
    double* sum = args.acc + i * args.n;
    double* sum_abs = args.acc_abs ? args.acc_abs + i * args.n : nullptr;
    for (std::int64_t j = 0; j < args.n; ++j) {
      sum[j] = args.bias ? args.bias[j] : 0;
      if (sum_abs) sum_abs[j] = std::fabs(sum[j]);
    }
    for (std::int64_t p = 0; p < args.k; ++p) {
      const double a = value(args.type, args.a, i * args.a_row + p * args.a_col);
      for (std::int64_t j = 0; j < args.n; ++j) {
        const double product = a * b[p * args.n + j];
        sum[j] += product;
        if (sum_abs) sum_abs[j] += std::fabs(product);
      }
    }
  }
}

}  // namespace weft::gemm
