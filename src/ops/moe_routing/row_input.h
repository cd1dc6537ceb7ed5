// SPDX-License-Identifier: Apache-2.0
// Operands of the routing operators: inputs of any strides, outputs whose rows are written as
// wholes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/memory.h"
#include "base/row_offsets.h"
#include "ops/contract.h"
#include "weft/tensor.h"

namespace weft::ops {

/// Whether the axes behind the first `leading` lie adjacent in row-major order.
bool rows_are_adjacent(const ConstTensorRef& tensor, int leading);

/// Rules of strides: the tensor can be addressed; what is written has adjacent rows that lie apart.
void check_addressable(Contract& contract, std::span<const NamedTensor> tensors);
void check_output_rows(Contract& contract, const NamedTensor& output, int leading);

/// An input as rows, counted by its first `leading` axes: used where it is, or, if its rows are not
/// adjacent, from a copy that every run makes. Of a tensor that is not given there are no rows.
class RowInput {
 public:
  RowInput() = default;
  static Result<RowInput> plan(const ConstTensorRef& tensor, int leading, const char* name);

  /// Looks at the operand of this run; before the rows are read.
  void bind(const ConstTensorRef& now);
  bool given() const { return given_; }
  const void* operator[](std::int64_t row) const { return as<std::byte>(row); }
  template <typename T>
  const T* as(std::int64_t row) const {
    return static_cast<const T*>(static_cast<const void*>(base_ + offsets_[row]));
  }

 private:
  bool given_ = false;
  const std::byte* base_ = nullptr;
  RowOffsets offsets_;
  Buffer copy_;
};

/// The same of an output, whose rows are adjacent.
class RowOutput {
 public:
  RowOutput() = default;
  RowOutput(const ConstTensorRef& tensor, int leading) : offsets_(tensor, leading) {}
  void bind(const TensorRef& now) { base_ = static_cast<std::byte*>(now.data()); }
  void* operator[](std::int64_t row) const { return as<std::byte>(row); }
  template <typename T>
  T* as(std::int64_t row) const {
    return static_cast<T*>(static_cast<void*>(base_ + offsets_[row]));
  }

 private:
  std::byte* base_ = nullptr;
  RowOffsets offsets_;
};

/// float16, bfloat16 or float32.
bool is_float(DType type);

}  // namespace weft::ops
