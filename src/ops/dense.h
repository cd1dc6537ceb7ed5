// SPDX-License-Identifier: Apache-2.0
// Operands come with any strides, and with an axis of experts; kernels want the adjacent elements
// of one.
#pragma once

#include <cstddef>

#include "weft/tensor.h"

namespace weft::ops {

/// Copies a tensor to dense row-major memory. Elements of whole bytes.
void copy_dense(const ConstTensorRef& from, std::byte* to);

/// `tensor` without its first axis, at `index`.
ConstTensorRef slice(const ConstTensorRef& tensor, std::int64_t index);

}  // namespace weft::ops
