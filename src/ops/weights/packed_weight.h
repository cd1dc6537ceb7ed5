// SPDX-License-Identifier: Apache-2.0
// What is behind weft::PackedWeight.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/memory.h"
#include "kernels/gemm/gemm.h"
#include "weft/packed_weight.h"

namespace weft::internal {

struct PackedWeightState {
  const gemm::Kernel* kernel = nullptr;
  std::int64_t experts = 0;  ///< 0: one (k, n) weight; the panels of each follow those before it
  std::int64_t k = 0, n = 0;
  std::int64_t kc = 0;  ///< rows of k per chunk; every chunk holds all its panels (weight.h)
  std::int64_t panel_bytes = 0;  ///< of all chunks; the buffer may be larger
  Buffer panels;
  std::string source;

  std::int64_t expert_bytes() const { return experts > 0 ? panel_bytes / experts : panel_bytes; }
};

/// Bytes of the chunks of a (k, n) weight, or of `experts` of them; nullopt if that is more than
/// 2^63 - 1.
std::optional<std::int64_t> packed_bytes(const gemm::Kernel& kernel, std::int64_t experts,
                                         std::int64_t k, std::int64_t n, std::int64_t kc);

}  // namespace weft::internal
