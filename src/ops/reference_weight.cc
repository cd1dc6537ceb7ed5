// SPDX-License-Identifier: Apache-2.0
#include "ops/reference_weight.h"

#include "base/float16.h"
#include "ops/reference_bounds.h"

namespace weft::ops {
namespace {

double scale_value(const ConstTensorRef& scale, std::int64_t group, std::int64_t column) {
  if (scale.elements() == 1) return element_value(scale, 0);
  const std::int64_t index =
      (scale.rank() == 2 ? group * scale.stride(0) : 0) + column * scale.stride(scale.rank() - 1);
  return element_value(scale, index);
}

}  // namespace

double ReferenceWeight::value(std::int64_t p, std::int64_t j) const {
  const double w = element_value(weight, matrix_index(weight, p, j));
  if (!scale.given()) return w;
  const std::int64_t group = group_rows ? p / group_rows : 0;
  const double factor = scale_value(scale, group, j);
  const double summand = offset.given() ? scale_value(offset, group, j) : 0.0;
  if (restored == DType::kFloat16)
    return round_to(restored, round_to(restored, w + summand) * factor);
  const float sum = static_cast<float>(w + summand);  // exact in double: rounded to fp32 once
  return bf16_to_f32(f32_to_bf16(static_cast<float>(static_cast<double>(sum) * factor)));
}

}  // namespace weft::ops
