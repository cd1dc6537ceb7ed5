// SPDX-License-Identifier: Apache-2.0
#include "ops/local_matmul/reference.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/float16.h"

namespace weft::ops {
namespace {

template <typename Number>
Number load(const void* data, std::int64_t index) {
  Number number;
  std::memcpy(
      &number,
      static_cast<const std::byte*>(data) + index * static_cast<std::int64_t>(sizeof(Number)),
      sizeof(Number));
  return number;
}

double round_to(DType type, double value) {
  return type == DType::kFloat16 ? fp16_to_f32(f64_to_fp16(value))
                                 : bf16_to_f32(f64_to_bf16(value));
}

std::int64_t row_offset(const ConstTensorRef& x1, std::int64_t row) {
  if (x1.rank() == 2) return row * x1.stride(0);
  return row / x1.dim(1) * x1.stride(0) + row % x1.dim(1) * x1.stride(1);
}

// Element of a (1), (n), (1, n) or (groups, n) scale.
double scale_value(const ConstTensorRef& scale, std::int64_t group, std::int64_t column) {
  if (scale.elements() == 1) return element_value(scale, 0);
  const std::int64_t index =
      (scale.rank() == 2 ? group * scale.stride(0) : 0) + column * scale.stride(scale.rank() - 1);
  return element_value(scale, index);
}

// One weight as the product sees it.
double weight_value(const MatmulOperands& o, Scenario scenario, std::int64_t p, std::int64_t j) {
  const double w = element_value(o.x2, p * o.x2.stride(0) + j * o.x2.stride(1));
  if (scenario != Scenario::kWeightQuant) return w;
  const DType type = o.x1.dtype();
  const std::int64_t group = o.antiquant_group_size ? p / o.antiquant_group_size : 0;
  const double scale = scale_value(o.antiquant_scale, group, j);
  const double offset =
      o.antiquant_offset.given() ? scale_value(o.antiquant_offset, group, j) : 0.0;
  if (type == DType::kFloat16) return round_to(type, round_to(type, w + offset) * scale);
  const float sum = static_cast<float>(w + offset);  // both exact in double: rounded to fp32 once
  return bf16_to_f32(f32_to_bf16(static_cast<float>(static_cast<double>(sum) * scale)));
}

}  // namespace

double element_value(const ConstTensorRef& tensor, std::int64_t index) {
  const void* data = tensor.data();
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return load<float>(data, index);
    case DType::kFloat16:
      return fp16_to_f32(load<std::uint16_t>(data, index));
    case DType::kBFloat16:
      return bf16_to_f32(load<std::uint16_t>(data, index));
    case DType::kInt8:
      return load<std::int8_t>(data, index);
    case DType::kInt4: {
      const int byte = load<std::uint8_t>(data, index / 2);
      const int nibble = index % 2 ? byte >> 4 : byte & 15;
      return nibble < 8 ? nibble : nibble - 16;
    }
    case DType::kInt32:
      return load<std::int32_t>(data, index);
    case DType::kInt64:
    case DType::kUInt64:
      return std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint64_t>(data, index)));
    case DType::kBool:
      return load<std::uint8_t>(data, index) != 0;
  }
  return 0;
}

double subnormal_slack(DType type) { return type == DType::kFloat16 ? 0x1p-25 : 0x1p-120; }
double largest_finite(DType type) { return type == DType::kFloat16 ? 65504.0 : 0x1.fep127; }

PartialRow reference_partial_row(const MatmulOperands& o, DType io, std::int64_t row) {
  const Scenario scenario = scenario_of(o.x1.dtype(), o.weight_dtype());
  const std::int64_t k = o.weight_k(), n = o.weight_n();
  const std::int64_t x1_row = row_offset(o.x1, row), x1_step = o.x1.stride(o.x1.rank() - 1);
  PartialRow result{std::vector<double>(static_cast<size_t>(n)),
                    std::vector<double>(static_cast<size_t>(n))};
  std::vector<double> sum(static_cast<size_t>(n)), sum_abs(static_cast<size_t>(n));
  for (std::int64_t p = 0; p < k; ++p) {
    const double a = element_value(o.x1, x1_row + p * x1_step);
    for (std::int64_t j = 0; j < n; ++j) {
      const double product = a * weight_value(o, scenario, p, j);
      sum[static_cast<size_t>(j)] += product;
      sum_abs[static_cast<size_t>(j)] += std::fabs(product);
    }
  }
  for (std::int64_t j = 0; j < n; ++j) {
    const auto i = static_cast<size_t>(j);
    const double bias = o.bias.given() ? element_value(o.bias, j * o.bias.stride(0)) : 0.0;
    double value = sum[i] + bias, error = 0;
    if (scenario == Scenario::kQuant) {
      value =
          static_cast<std::int32_t>(static_cast<std::uint32_t>(static_cast<std::int64_t>(value)));
      value *= scale_value(o.dequant_scale, 0, j);
      error = 3 * 0x1p-24 * std::fabs(value);
    } else {
      error = static_cast<double>(k + 2) * 0x1p-24 * (sum_abs[i] + std::fabs(bias));
    }
    result.value[i] = value;
    result.bound[i] =
        info(io).unit_roundoff * (std::fabs(value) + error) + error + subnormal_slack(io);
  }
  return result;
}

}  // namespace weft::ops
