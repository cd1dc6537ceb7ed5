// SPDX-License-Identifier: Apache-2.0
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
  const auto* words = static_cast<const std::uint64_t*>(data);
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i < bytes / 8; ++i) sum += words[i];
  const auto* rest = static_cast<const unsigned char*>(data) + bytes / 8 * 8;
  for (std::int64_t i = 0; i < bytes % 8; ++i) sum += rest[i];
  *static_cast<std::uint64_t*>(sink) = sum;
}

void copy_scalar(const void* from, void* to, std::int64_t bytes) {
  const auto* source = static_cast<const std::uint64_t*>(from);
  auto* target = static_cast<std::uint64_t*>(to);
  for (std::int64_t i = 0; i < bytes / 8; ++i) target[i] = source[i];
}

}  // namespace weft::peak
