// SPDX-License-Identifier: Apache-2.0
#include "ops/dense.h"

#include <array>
#include <cstring>

namespace weft::ops {

void copy_dense(const ConstTensorRef& from, std::byte* to) {
  const auto* base = static_cast<const std::byte*>(from.data());
  const std::int64_t size = bytes_of(from.dtype(), 1);
  if (from.dense()) {
    std::memcpy(to, base, static_cast<size_t>(from.elements() * size));
    return;
  }
  std::array<std::int64_t, kMaxDims> at{};
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < from.elements(); ++i, to += size) {
    std::memcpy(to, base + offset * size, static_cast<size_t>(size));
    for (int axis = from.rank() - 1; axis >= 0; --axis) {
      offset += from.stride(axis);
      if (++at[static_cast<size_t>(axis)] < from.dim(axis)) break;
      offset -= from.dim(axis) * from.stride(axis);
      at[static_cast<size_t>(axis)] = 0;
    }
  }
}

ConstTensorRef slice(const ConstTensorRef& tensor, std::int64_t index) {
  const std::int64_t bits = index * tensor.stride(0) * info(tensor.dtype()).bits;
  const auto* data = static_cast<const std::byte*>(tensor.data());
  return ConstTensorRef(data ? data + bits / 8 : nullptr, tensor.dtype(), tensor.dims().subspan(1),
                        tensor.strides().subspan(1));
}

}  // namespace weft::ops
