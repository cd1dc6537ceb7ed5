// SPDX-License-Identifier: Apache-2.0
// Random data of a type: kernels and memory can be faster on zeros.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/float16.h"
#include "weft/dtype.h"

namespace weft::bench {

/// Fills memory with values in [-magnitude, magnitude) of float16, bfloat16 or float32, or with any
/// values of int8 or int4; a MiB that repeats.
inline void fill_random(void* data, std::int64_t bytes, DType dtype, unsigned seed,
                        float magnitude = 1) {
  std::vector<std::byte> block(static_cast<size_t>(std::min<std::int64_t>(bytes, 1 << 20)));
  std::mt19937 random(seed);
  const auto size = static_cast<size_t>(bytes_of(dtype, 1));
  for (size_t at = 0; at + size <= block.size(); at += size) {
    if (size == 1) {
      block[at] = static_cast<std::byte>(random() >> 24);
      continue;
    }
    const float value =
        static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-31f * magnitude;
    const std::uint16_t half = dtype == DType::kFloat16 ? f32_to_fp16(value) : f32_to_bf16(value);
    std::memcpy(block.data() + at,
                dtype == DType::kFloat32 ? static_cast<const void*>(&value) : &half, size);
  }
  for (std::int64_t at = 0; at < bytes; at += static_cast<std::int64_t>(block.size()))
    std::memcpy(static_cast<std::byte*>(data) + at, block.data(),
                std::min(block.size(), static_cast<size_t>(bytes - at)));
}

}  // namespace weft::bench
