// SPDX-License-Identifier: Apache-2.0
// Rows of a tensor of any strides, counted by its leading axes.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "weft/tensor.h"

namespace weft {

/// Where the rows of a tensor start, in bytes from its data.
class RowOffsets {
 public:
  RowOffsets() = default;
  /// Rows are counted by the first `leading` axes. Axes that lie like one axis become one.
  RowOffsets(const ConstTensorRef& tensor, int leading);

  std::int64_t operator[](std::int64_t row) const {
    std::int64_t offset = 0;
    for (int i = axes_ - 1; i > 0; --i) {
      const Axis& axis = axis_[static_cast<size_t>(i)];
      offset += row % axis.extent * axis.stride_bytes;
      row /= axis.extent;
    }
    return offset + row * axis_[0].stride_bytes;
  }
  /// Bytes from row to row, and how many rows from `row` on are that far apart.
  std::int64_t stride_bytes() const { return inner().stride_bytes; }
  std::int64_t run(std::int64_t row) const {
    if (axes_ <= 1) return std::numeric_limits<std::int64_t>::max();
    return inner().extent - row % inner().extent;
  }

 private:
  struct Axis {
    std::int64_t extent = 1, stride_bytes = 0;
  };
  const Axis& inner() const { return axis_[axes_ > 0 ? static_cast<size_t>(axes_ - 1) : 0]; }

  int axes_ = 0;
  std::array<Axis, kMaxDims> axis_{};
};

}  // namespace weft
