// SPDX-License-Identifier: Apache-2.0
// (m, n) and (b, s, n) tensors whose rows of n are read and written as wholes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "ops/contract.h"
#include "weft/tensor.h"

namespace weft::ops {

/// The tensor has dtype `io`, these extents, and rows with adjacent elements. `like` names what
/// gives dtype and extents, for the message.
void check_rows(Contract& contract, std::string_view name, const ConstTensorRef& tensor, DType io,
                std::span<const std::int64_t> dims, std::string_view like);
/// No two elements of a tensor that is written share memory. Expects check_rows to hold.
void check_rows_apart(Contract& contract, std::string_view name, const ConstTensorRef& tensor);

/// Addresses of the rows of such a tensor of 16-bit elements; a 2-D tensor is one batch.
template <typename Byte>
class RowView {
 public:
  RowView() = default;
  template <typename Tensor>
  explicit RowView(const Tensor& t)
      : base_(static_cast<Byte*>(t.data())),
        rows_(t.dim(t.rank() - 2)),
        batch_bytes_(t.rank() == 3 ? bytes_between(t, 0) : 0),
        row_bytes_(bytes_between(t, t.rank() - 2)) {}
  Byte* operator[](std::int64_t row) const {
    return base_ + row / rows_ * batch_bytes_ + row % rows_ * row_bytes_;
  }
  /// Rows from `row` on, up to `end`, that are row_bytes() apart.
  std::int64_t run(std::int64_t row, std::int64_t end) const {
    if (batch_bytes_ == rows_ * row_bytes_) return end - row;
    const std::int64_t batch_end = (row / rows_ + 1) * rows_;
    return (end < batch_end ? end : batch_end) - row;
  }
  std::int64_t row_bytes() const { return row_bytes_; }

 private:
  /// The stride of an axis of extent 1 means nothing and may be any number.
  template <typename Tensor>
  static std::int64_t bytes_between(const Tensor& t, int axis) {
    return t.dim(axis) == 1 ? 0 : t.stride(axis) * 2;
  }

  Byte* base_ = nullptr;
  std::int64_t rows_ = 1, batch_bytes_ = 0, row_bytes_ = 0;
};

}  // namespace weft::ops
