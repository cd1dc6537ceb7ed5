// SPDX-License-Identifier: Apache-2.0
// Small operands (bias, gamma, scales) come with any strides; kernels want their elements adjacent.
#pragma once

#include <cstddef>

#include "weft/tensor.h"

namespace weft::ops {

/// Copies a tensor to dense row-major memory. Elements of whole bytes.
void copy_dense(const ConstTensorRef& from, std::byte* to);

}  // namespace weft::ops
