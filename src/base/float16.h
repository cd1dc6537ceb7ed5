// SPDX-License-Identifier: Apache-2.0
// Scalar conversions of the 16-bit float types: references, tests, tools. Kernels have their own.
#pragma once

#include <bit>
#include <cstdint>

namespace weft {

inline float bf16_to_f32(std::uint16_t h) { return std::bit_cast<float>(std::uint32_t{h} << 16); }

/// Nearest, ties to even; nan stays nan (quiet).
inline std::uint16_t f32_to_bf16(float f) {
  const auto u = std::bit_cast<std::uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float fp16_to_f32(std::uint16_t h);
/// Nearest, ties to even; overflow gives infinity, nan stays nan (quiet), subnormals are kept.
std::uint16_t f32_to_fp16(float f);
/// From double, rounded once.
std::uint16_t f64_to_fp16(double d);
std::uint16_t f64_to_bf16(double d);

}  // namespace weft
