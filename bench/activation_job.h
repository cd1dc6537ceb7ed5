// SPDX-License-Identifier: Apache-2.0
// What becomes of the tiles of an FFN's first product, of 32 x 256 elements in panels of 32
// columns, in the cache as the product leaves them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/activation/activation.h"

namespace weft::bench {

struct ActivationCase {
  std::string_view form_name, function_name;
  activation::Form form;
  activation::Function function;
  bool gated;
};
/// Every form with every function, alone and gated.
std::vector<ActivationCase> activation_cases();

inline constexpr int kActivationElements = 1024 * 4096;

class ActivationJob {
 public:
  explicit ActivationJob(const ActivationCase& c);
  /// Seconds for kActivationElements.
  double run();

 private:
  const activation::ActivateTileFn activate_;
  std::vector<std::uint32_t> acc_, gate_;  ///< f32 or s32
  std::vector<float> scale_, quant_scale_;
  std::vector<std::uint16_t> dst_;
  activation::ActivateTile tile_;
};

}  // namespace weft::bench
