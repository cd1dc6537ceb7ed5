// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/peak/kernels.h"

namespace weft::peak {

// acc = acc · a + b rather than acc + a · b: without a fused instruction the product would be the
// same in every round and leave the loop. |a| < 1 keeps acc finite.
void fp32_fma_scalar(const void* data, std::int64_t rounds, void* sink) {
  constexpr int kAccumulators = 32;
  const auto* values = static_cast<const float*>(data);
  float acc[kAccumulators], a[4], b[4];
  for (int i = 0; i < kAccumulators; ++i) acc[i] = values[i];
  for (int i = 0; i < 4; ++i) {
    a[i] = values[32 + i];
    b[i] = values[36 + i];
  }
  for (std::int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < kAccumulators; ++i) acc[i] = acc[i] * a[i % 4] + b[i % 4];
  float total = 0;
  for (int i = 0; i < kAccumulators; ++i) total += acc[i];
  *static_cast<float*>(sink) = total;
}

void read_scalar(const void* data, std::int64_t bytes, void* sink) {
  const auto* begin = static_cast<const unsigned char*>(data);
  std::uint64_t sum = 0, word;
  for (std::int64_t i = 0; i < bytes / 8; ++i) {
    std::memcpy(&word, begin + 8 * i, 8);  // data may be unaligned
    sum += word;
  }
  for (std::int64_t i = bytes / 8 * 8; i < bytes; ++i) sum += begin[i];
  std::memcpy(sink, &sum, 8);
}

void copy_scalar(const void* from, void* to, std::int64_t bytes) {
  const auto* source = static_cast<const std::uint64_t*>(from);
  auto* target = static_cast<std::uint64_t*>(to);
  for (std::int64_t i = 0; i < bytes / 8; ++i) target[i] = source[i];
}

}  // namespace weft::peak
