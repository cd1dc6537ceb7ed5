// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "base/float16.h"

namespace weft::activation::reference {
namespace {

// The argument of exp.
double argument(Function function, double v) {
  if (function == Function::kSilu) return -v;
  if (function == Function::kFastGelu) return -1.702 * v;
  return -1.5957691216057308 * (v + 0.044715 * v * v * v);
}

double round_to_half(double x) { return fp16_to_f32(f64_to_fp16(x)); }

}  // namespace

double value(Function function, double v) {
  if (function == Function::kRelu) return v < 0 ? 0 : v;
  return v / (1 + std::exp(argument(function, v)));
}

// fastgelu is silu(1.702 v) / 1.702, so its slopes are silu's. The largest are where f'' is 0: at
// v = 2.3994, 1.4097 and, for gelu, 1.4185.
double slope_bound(Function function) {
  if (function == Function::kRelu) return 1;
  return function == Function::kGelu ? 1.1290 : 1.09984;
}

double error(Function function, double v) {
  if (function == Function::kRelu) return 0;
  constexpr double kU = 0x1p-24, kMost = std::numeric_limits<float>::max();
  const double x = argument(function, v), e = std::exp(x), f = std::fabs(value(function, v));
  const int roundings = function == Function::kSilu ? 0 : function == Function::kFastGelu ? 2 : 4;
  const double largest = std::exp(x + roundings * kU * std::fabs(x)) * (1 + 2 * kU);
  if (largest >= kMost) return f;
  const double relative = (largest - e) / (1 + e) + 2 * kU;
  return f * relative * (1 + 2 * relative) + 0x1p-150;
}

double round_half_away(DType type, double value) {
  assert(type == DType::kFloat16 || type == DType::kBFloat16);
  if (!std::isfinite(value) || value == 0) return value;
  const bool half = type == DType::kFloat16;
  const int exponent = std::max(std::ilogb(value), half ? -14 : -126);
  const double last_place = std::ldexp(1.0, exponent - (half ? 10 : 7));
  const double rounded = std::round(value / last_place) * last_place;  // round() goes half away
  const double most = half ? 65504 : 0x1.fep127;
  return std::fabs(rounded) > most ? std::copysign(INFINITY, value) : rounded;
}

int quantise(float a, float quant_scale, float quant_offset) {
  const double scaled = round_to_half(round_to_half(a) * quant_scale);
  const double q = round_to_half(scaled + quant_offset);
  return std::isnan(q) ? 0 : static_cast<int>(std::clamp(std::nearbyint(q), -128.0, 127.0));
}

}  // namespace weft::activation::reference
