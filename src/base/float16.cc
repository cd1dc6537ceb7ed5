// SPDX-License-Identifier: Apache-2.0
#include "base/float16.h"

#include <cmath>

namespace weft {
namespace {

// Rounds |d| to a format with `mantissa_bits` stored bits and least exponent `min_exponent`, once.
double round_to(double d, int mantissa_bits, int min_exponent) {
  if (d == 0 || !std::isfinite(d)) return d;
  int exponent = std::ilogb(d);
  if (exponent < min_exponent) exponent = min_exponent;
  const double step = std::ldexp(1.0, exponent - mantissa_bits);
  return std::nearbyint(d / step) * step;  // exact scaling by a power of two; ties to even
}

}  // namespace

float fp16_to_f32(std::uint16_t h) {
  const std::uint32_t sign = (h & 0x8000u) << 16;
  const std::uint32_t exponent = (h >> 10) & 0x1fu;
  const std::uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1f)
    return std::bit_cast<float>(sign | 0x7f800000u |
                                (mantissa ? (mantissa << 13) | 0x400000u : 0u));
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

std::uint16_t f64_to_fp16(double d) {
  const std::uint16_t sign = std::signbit(d) ? 0x8000 : 0;
  if (std::isnan(d)) return sign | 0x7e00;
  const double r = std::fabs(round_to(d, 10, -14));
  if (r >= 65520.0) return sign | 0x7c00;  // round_to made 65536 of everything from the midpoint on
  if (r < 0x1p-14) return sign | static_cast<std::uint16_t>(r * 0x1p24);
  const int exponent = std::ilogb(r);
  const auto mantissa = static_cast<std::uint16_t>((std::ldexp(r, -exponent) - 1) * 1024);
  return sign | static_cast<std::uint16_t>((exponent + 15) << 10) | mantissa;
}

std::uint16_t f64_to_bf16(double d) {
  if (std::isnan(d)) return 0x7fc0;
  const double r = round_to(d, 7, -126);
  // r has at most 8 significant bits, so it is a float unless it overflows, and then it is
  // infinity.
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(r)) >> 16);
}

std::uint16_t f32_to_fp16(float f) {
  if (std::isnan(f)) {
    const auto u = std::bit_cast<std::uint32_t>(f);
    return static_cast<std::uint16_t>(((u >> 16) & 0x8000u) | 0x7e00u | ((u >> 13) & 0x3ffu));
  }
  return f64_to_fp16(f);
}

}  // namespace weft
