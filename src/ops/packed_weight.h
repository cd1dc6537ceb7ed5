// SPDX-License-Identifier: Apache-2.0
// What is behind weft::PackedWeight.
#pragma once

#include <cstdint>

#include "base/memory.h"
#include "kernels/gemm/gemm.h"
#include "weft/packed_weight.h"

namespace weft::internal {

struct PackedWeightState {
  const gemm::Kernel* kernel = nullptr;
  std::int64_t k = 0, n = 0;
  std::int64_t kc = 0;  ///< rows of k per chunk; every chunk holds all its panels (weight.h)
  Buffer panels;
};

}  // namespace weft::internal
