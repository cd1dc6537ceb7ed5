// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_collective/reference.h"

#include <cmath>
#include <limits>

#include "ops/local_matmul/reference.h"

namespace weft::ops {
namespace {

float column_value(const ConstTensorRef& scale, size_t column) {
  return static_cast<float>(
      element_value(scale, static_cast<std::int64_t>(column) * scale.stride(scale.rank() - 1)));
}

// To float16, to the nearest integer (ties to even), saturated; nan gives 0.
int to_int8(float value) {
  const double half = round_to(DType::kFloat16, value);
  if (std::isnan(half)) return 0;
  const double nearest = std::nearbyint(half);
  return static_cast<int>(nearest < -128 ? -128.0 : nearest > 127 ? 127.0 : nearest);
}

bool same_number(double a, double b) {
  return a == b ? std::signbit(a) == std::signbit(b) : std::isnan(a) && std::isnan(b);
}

}  // namespace

SumRow reference_sum_row(std::span<const MatmulOperands> ranks, DType io, std::int64_t row) {
  SumRow sum;
  std::vector<double> magnitude;
  for (const MatmulOperands& operands : ranks) {
    const PartialRow partial = reference_partial_row(operands, io, row);
    sum.value.resize(partial.value.size());
    sum.bound.resize(partial.value.size());
    magnitude.resize(partial.value.size());
    for (size_t j = 0; j < partial.value.size(); ++j) {
      sum.value[j] += partial.value[j];
      sum.bound[j] += partial.bound[j];
      magnitude[j] += std::fabs(partial.value[j]) + partial.bound[j];
    }
  }
  const double u = info(io).unit_roundoff;
  for (size_t j = 0; j < sum.value.size(); ++j) {
    sum.bound[j] += static_cast<double>(ranks.size()) * 0x1p-24 * magnitude[j];
    sum.bound[j] += u * (std::fabs(sum.value[j]) + sum.bound[j]) + subnormal_slack(io);
  }
  return sum;
}

std::vector<float> int8_sum_row(std::span<const MatmulOperands> ranks, const CommScales& scales,
                                DType io, std::int64_t row) {
  std::vector<int> sum;
  for (const MatmulOperands& operands : ranks) {
    const std::vector<float> partial = exact_quant_row(operands, io, row);
    sum.resize(partial.size());
    for (size_t j = 0; j < partial.size(); ++j)
      sum[j] += to_int8(partial[j] / column_value(scales.scale_1, j));
  }
  std::vector<float> result(sum.size());
  for (size_t j = 0; j < sum.size(); ++j) {
    const float scale_2 = column_value(scales.scale_2, j);
    const float ratio = column_value(scales.scale_1, j) / scale_2;
    const int z = to_int8(static_cast<float>(sum[j]) * ratio);
    result[j] = static_cast<float>(round_to(io, static_cast<double>(z) * scale_2));
  }
  return result;
}

RowError check_output_row(std::span<const MatmulOperands> ranks, const CommScales& scales,
                          const ConstTensorRef& output, std::int64_t output_row, std::int64_t row) {
  const DType io = output.dtype();
  const std::int64_t begin = row_index(output, output_row);
  RowError error;
  if (scales.scale_1.given()) {
    const std::vector<float> want = int8_sum_row(ranks, scales, io, row);
    for (size_t j = 0; j < want.size(); ++j) {
      const double got = element_value(output, begin + static_cast<std::int64_t>(j));
      error.add(same_number(got, want[j]) ? 0 : std::numeric_limits<double>::infinity(), "output");
    }
    return error;
  }
  const SumRow want = reference_sum_row(ranks, io, row);
  for (size_t j = 0; j < want.value.size(); ++j)
    error.add(share_of_bound(element_value(output, begin + static_cast<std::int64_t>(j)),
                             want.value[j], want.bound[j], largest_finite(io)),
              "output");
  return error;
}

}  // namespace weft::ops
