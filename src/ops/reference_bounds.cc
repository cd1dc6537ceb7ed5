// SPDX-License-Identifier: Apache-2.0
#include "ops/reference_bounds.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float16.h"
#include "base/fractal_nz.h"

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

}  // namespace

double share_of_bound(double got, double want, double bound, double largest) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got))
    return std::isnan(want) && std::isnan(got) ? 0 : kInfinity;
  if (std::isinf(want) || std::isinf(got)) {
    if (got == want) return 0;
    // Rounding may overflow where the exact value is within the bound of the largest finite one.
    return std::isinf(got) && std::signbit(got) == std::signbit(want) &&
                   std::fabs(want) + bound >= largest
               ? 0
               : kInfinity;
  }
  return std::fabs(got - want) / bound;
}

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
    default:  // of no operator
      break;
  }
  return 0;
}

std::int64_t matrix_index(const ConstTensorRef& m, std::int64_t i, std::int64_t j) {
  if (m.format() == Format::kStrided) return i * m.stride(0) + j * m.stride(1);
  return m.fractal_nz_transposed() ? FractalNz(m.dtype(), m.dim(1), m.dim(0)).index(j, i)
                                   : FractalNz(m.dtype(), m.dim(0), m.dim(1)).index(i, j);
}

std::int64_t row_start(const ConstTensorRef& t, int axis, std::int64_t row) {
  std::int64_t index = 0;
  for (int i = axis - 1; i >= 0; --i) {
    index += row % t.dim(i) * t.stride(i);
    row /= t.dim(i);
  }
  return index;
}

std::int64_t row_index(const ConstTensorRef& t, std::int64_t row) {
  return row_start(t, t.rank() - 1, row);
}

double round_to(DType type, double value) {
  return type == DType::kFloat16 ? fp16_to_f32(f64_to_fp16(value))
                                 : bf16_to_f32(f64_to_bf16(value));
}

double subnormal_slack(DType type) {
  if (type == DType::kFloat32) return 0x1p-149;
  return type == DType::kFloat16 ? 0x1p-25 : 0x1p-120;
}
double largest_finite(DType type) {
  if (type == DType::kFloat32) return 0x1.fffffep127;
  return type == DType::kFloat16 ? 65504.0 : 0x1.fep127;
}

}  // namespace weft::ops
