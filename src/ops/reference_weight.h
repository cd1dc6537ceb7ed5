// SPDX-License-Identifier: Apache-2.0
// Weights as products see them, for the references: restored from integers one by one.
#pragma once

#include <cstdint>

#include "weft/dtype.h"
#include "weft/tensor.h"

namespace weft::ops {

struct ReferenceWeight {
  ConstTensorRef weight;         ///< (k, n)
  ConstTensorRef scale, offset;  ///< (1), (n), (1, n) or (groups, n); no scale: nothing to restore
  std::int64_t group_rows = 0;   ///< rows of a group; 0: one group
  DType restored = DType::kFloat16;

  /// Weight (p, j), with the roundings of its definition if it is restored:
  ///   float16   R(R(w + offset) · scale)
  ///   bfloat16  R((w + offset) · scale), where sum and product are fp32
  double value(std::int64_t p, std::int64_t j) const;
};

}  // namespace weft::ops
