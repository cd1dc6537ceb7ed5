// SPDX-License-Identifier: Apache-2.0
// Copies between matrices with any strides and their FRACTAL_NZ images.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/thread_pool.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::ops {

/// "op: text", kInvalidArgument.
Status invalid(std::string_view op, std::string_view text);

bool has_fractal_nz(DType dtype);

/// Elements of the images of all matrices of a non-empty tensor, one after the other; `name` is
/// what messages call it.
Result<std::int64_t> fractal_nz_elements(std::string_view op, std::string_view name,
                                         std::span<const std::int64_t> dims, DType dtype);

/// Every matrix (the last two axes) of a tensor of whole-byte elements to its image, and back. The
/// images follow each other. The threads share the work.
void copy_to_fractal_nz(ThreadPool& pool, const ConstTensorRef& matrices, void* images);
void copy_from_fractal_nz(ThreadPool& pool, const void* images, const TensorRef& matrices);

}  // namespace weft::ops
