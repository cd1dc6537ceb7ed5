// SPDX-License-Identifier: Apache-2.0
// Rows of A, with any strides, become panels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace weft::gemm {

struct Batch;
struct Product;

/// Scratch of a thread for the rows of a panel, used only where they are not one strided block with
/// adjacent k.
std::int64_t gather_bytes(const Kernel& kernel, std::int64_t k);

/// How many parts the rows of a product are packed in, and one of them.
std::int64_t row_parts(const Kernel& kernel, const Product& product);
void pack_rows(const Batch& batch, const Product& product, std::int64_t part, std::byte* gather);

}  // namespace weft::gemm
