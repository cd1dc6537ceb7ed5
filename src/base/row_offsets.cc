// SPDX-License-Identifier: Apache-2.0
#include "base/row_offsets.h"

namespace weft {

RowOffsets::RowOffsets(const ConstTensorRef& tensor, int leading) {
  for (int i = 0; i < leading; ++i) {
    if (tensor.dim(i) == 1) continue;
    const Axis axis = {tensor.dim(i), tensor.stride(i) * bytes_of(tensor.dtype(), 1)};
    Axis* const outer = axes_ > 0 ? &axis_[static_cast<size_t>(axes_ - 1)] : nullptr;
    if (outer && outer->stride_bytes == axis.extent * axis.stride_bytes)
      *outer = {outer->extent * axis.extent, axis.stride_bytes};
    else
      axis_[static_cast<size_t>(axes_++)] = axis;
  }
}

}  // namespace weft
