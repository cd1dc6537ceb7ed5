// SPDX-License-Identifier: Apache-2.0
#include "ops/contract.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>

namespace weft::ops {
namespace {

struct ByteRange {
  std::uintptr_t begin = 0, end = 0;
};

ByteRange bytes_touched(const ConstTensorRef& tensor) {
  if (!tensor.given() || !tensor.data() || tensor.elements() == 0) return {};
  std::int64_t low = 0, high = 0;  // elements
  for (int i = 0; i < tensor.rank(); ++i) {
    const std::int64_t reach = (tensor.dim(i) - 1) * tensor.stride(i);
    (reach < 0 ? low : high) += reach;
  }
  const auto base = reinterpret_cast<std::uintptr_t>(tensor.data());
  const int bits = info(tensor.dtype()).bits;
  return {base + static_cast<std::uintptr_t>(low * bits / 8),
          base + static_cast<std::uintptr_t>(((high + 1) * bits + 7) / 8)};
}

}  // namespace

std::string shape_text(const ConstTensorRef& tensor) {
  return fmt::format("({})", fmt::join(tensor.dims(), ", "));
}

bool overlap(const ConstTensorRef& a, const ConstTensorRef& b) {
  const ByteRange x = bytes_touched(a), y = bytes_touched(b);
  return x.begin < y.end && y.begin < x.end;
}

bool same_layout(const ConstTensorRef& a, const ConstTensorRef& b) {
  if (a.given() != b.given()) return false;
  if (!a.given()) return true;
  return a.dtype() == b.dtype() && std::ranges::equal(a.dims(), b.dims()) &&
         std::ranges::equal(a.strides(), b.strides());
}

bool same_view(const ConstTensorRef& a, const ConstTensorRef& b) {
  return a.given() && a.data() == b.data() && same_layout(a, b);
}

}  // namespace weft::ops
