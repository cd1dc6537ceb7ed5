// SPDX-License-Identifier: Apache-2.0
#include "ops/local_matmul/reference.h"

#include <cmath>

#include "ops/reference_bounds.h"
#include "ops/reference_weight.h"

namespace weft::ops {
namespace {

// Element of a (1), (n) or (1, n) scale.
double scale_value(const ConstTensorRef& scale, std::int64_t column) {
  if (scale.elements() == 1) return element_value(scale, 0);
  return element_value(scale, column * scale.stride(scale.rank() - 1));
}

// A row of x1 · x2 + bias, and the sum of the absolute values of its terms.
struct ProductRow {
  std::vector<double> sum, magnitude;
};
ProductRow product_row(const MatmulOperands& o, Scenario scenario, std::int64_t row) {
  const std::int64_t k = o.weight_k(), n = o.weight_n();
  ReferenceWeight weight{.weight = o.x2};
  if (scenario == Scenario::kWeightQuant)
    weight = {o.x2, o.antiquant_scale, o.antiquant_offset, o.antiquant_group_size, o.x1.dtype()};
  const std::int64_t x1_row = row_index(o.x1, row), x1_step = o.x1.stride(o.x1.rank() - 1);
  ProductRow product{std::vector<double>(static_cast<size_t>(n)),
                     std::vector<double>(static_cast<size_t>(n))};
  const auto add = [&](std::int64_t j, double value) {
    product.sum[static_cast<size_t>(j)] += value;
    product.magnitude[static_cast<size_t>(j)] += std::fabs(value);
  };
  for (std::int64_t p = 0; p < k; ++p) {
    const double a = element_value(o.x1, x1_row + p * x1_step);
    for (std::int64_t j = 0; j < n; ++j) add(j, a * weight.value(p, j));
  }
  if (o.bias.given())
    for (std::int64_t j = 0; j < n; ++j) add(j, element_value(o.bias, j * o.bias.stride(0)));
  return product;
}

// Sums of int8 products and an int32 bias wrap as int32 does.
std::int32_t wrapped(double sum) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(static_cast<std::int64_t>(sum)));
}

double pertoken_value(const MatmulOperands& o, std::int64_t row) {
  return o.pertoken_scale.given()
             ? element_value(o.pertoken_scale, row * o.pertoken_scale.stride(0))
             : 1.0;
}

}  // namespace

PartialRow reference_partial_row(const MatmulOperands& o, DType io, std::int64_t row) {
  const Scenario scenario = scenario_of(o.x1.dtype(), o.weight_dtype());
  const double u = info(io).unit_roundoff;
  const ProductRow product = product_row(o, scenario, row);
  const size_t n = product.sum.size();
  PartialRow result{std::vector<double>(n), std::vector<double>(n)};
  for (size_t i = 0; i < n; ++i) {
    const auto j = static_cast<std::int64_t>(i);
    double value = product.sum[i], error = 0;
    if (scenario == Scenario::kQuant) {
      value = wrapped(value) * scale_value(o.dequant_scale, j) * pertoken_value(o, row);
      error = 4 * 0x1p-24 * std::fabs(value);
    } else {
      error = static_cast<double>(o.weight_k() + 2) * 0x1p-24 * product.magnitude[i];
    }
    result.value[i] = value;
    result.bound[i] = u * (std::fabs(value) + error) + error + subnormal_slack(io);
    if (!o.x3.given()) continue;
    result.value[i] += element_value(o.x3, row_index(o.x3, row) + j);
    result.bound[i] += u * (std::fabs(result.value[i]) + result.bound[i]) + subnormal_slack(io);
  }
  return result;
}

std::vector<float> exact_quant_row(const MatmulOperands& o, DType io, std::int64_t row) {
  const ProductRow product = product_row(o, Scenario::kQuant, row);
  const auto per_token = static_cast<float>(pertoken_value(o, row));
  std::vector<float> partial(product.sum.size());
  for (size_t i = 0; i < partial.size(); ++i) {
    const auto j = static_cast<std::int64_t>(i);
    float value = static_cast<float>(wrapped(product.sum[i])) *
                  static_cast<float>(scale_value(o.dequant_scale, j));
    if (o.pertoken_scale.given()) value *= per_token;
    partial[i] = static_cast<float>(round_to(io, value));
    if (o.x3.given())
      partial[i] = static_cast<float>(
          round_to(io, partial[i] + element_value(o.x3, row_index(o.x3, row) + j)));
  }
  return partial;
}

}  // namespace weft::ops
