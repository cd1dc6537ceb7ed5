// SPDX-License-Identifier: Apache-2.0
// The rules of trans_matmul_weight, for front ends that look before they submit.
#pragma once

#include <cstdint>

#include "weft/weights.h"

namespace weft::ops {

/// Elements of the image of a weight, 0 of an empty one. Everything but the memory is checked: data
/// may be null. Errors: those of trans_matmul_weight.
Result<std::int64_t> check_trans_matmul_weight(const ConstTensorRef& weight);

}  // namespace weft::ops
