// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <array>
#include <cstdint>

#include "base/context_state.h"
#include "base/memory.h"
#include "kernels/rows/rows.h"
#include "ops/add_rmsnorm/contract.h"

namespace weft::ops {

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

 private:
  struct Axis {
    std::int64_t extent = 1, stride_bytes = 0;
  };
  int axes_ = 0;
  std::array<Axis, kMaxDims> axis_{};
};

}  // namespace weft::ops

namespace weft::internal {

struct AddRmsNormPlan {
  ContextState& context;
  AddRmsNormArgs args;  ///< as planned; the data pointers in it are not used
  const rows::Kernels& kernels;
  std::int64_t rows = 0, n = 0;
  std::int64_t batch = 0;  ///< rows a thread takes at a time
  rows::Store store = rows::Store::kPlain;
  ops::RowOffsets x1, x2, y, rstd, x;
  Buffer scratch;  ///< a row per thread
  std::int64_t scratch_row_bytes = 0;
  Buffer gamma;  ///< gamma with adjacent elements; not there if it has them
};

}  // namespace weft::internal

namespace weft::ops {

/// Computes all rows. The arguments keep the contract.
void run_rows(internal::AddRmsNormPlan& plan, const AddRmsNormArgs& args);

}  // namespace weft::ops
