// SPDX-License-Identifier: Apache-2.0
#include "ops/dense.h"

#include <cstring>

namespace weft::ops {

void copy_dense(const ConstTensorRef& from, std::byte* to) {
  const auto* base = static_cast<const std::byte*>(from.data());
  const std::int64_t size = bytes_of(from.dtype(), 1);
  if (from.dense()) {
    std::memcpy(to, base, static_cast<size_t>(from.elements() * size));
    return;
  }
  const int last = from.rank() - 1;
  const std::int64_t rows = last == 1 ? from.dim(0) : 1,
                     row_stride = last == 1 ? from.stride(0) : 0;
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < from.dim(last); ++j, to += size)
      std::memcpy(to, base + (i * row_stride + j * from.stride(last)) * size,
                  static_cast<size_t>(size));
}

}  // namespace weft::ops
