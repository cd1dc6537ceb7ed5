// SPDX-License-Identifier: Apache-2.0
// Views of tensors. They never own memory and are passed by value.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "weft/dtype.h"
#include "weft/export.h"

namespace weft {

/// Most axes a tensor can have.
inline constexpr int kMaxDims = 8;

/// data, dtype, shape and strides (in elements, also for int4). A default-constructed view stands
/// for "operand not given". `data` may be null where only the shape matters (planning) or nothing
/// is stored.
template <typename Pointer>
class BasicTensorRef {
 public:
  BasicTensorRef() = default;
  /// Dense row-major.
  BasicTensorRef(Pointer data, DType dtype, std::span<const std::int64_t> dims)
      : data_(data), dtype_(dtype), rank_(static_cast<int>(dims.size())), given_(true) {
    std::int64_t stride = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      dims_[i] = dims[i];
      strides_[i] = stride;
      stride *= dims[i];
    }
  }
  BasicTensorRef(Pointer data, DType dtype, std::initializer_list<std::int64_t> dims)
      : BasicTensorRef(data, dtype, std::span<const std::int64_t>(dims.begin(), dims.size())) {}
  /// Any strides, in elements. `dims` and `strides` have the same length, at most kMaxDims.
  BasicTensorRef(Pointer data, DType dtype, std::span<const std::int64_t> dims,
                 std::span<const std::int64_t> strides)
      : BasicTensorRef(data, dtype, dims) {
    for (int i = 0; i < rank_; ++i) strides_[i] = strides[i];
  }
  /// A view of writable memory can be read.
  template <typename Other>
  requires(std::is_const_v<std::remove_pointer_t<Pointer>>&& std::is_same_v<Other, void*>)
      BasicTensorRef(const BasicTensorRef<Other>& other) {
    if (!other.given()) return;
    *this = BasicTensorRef(other.data(), other.dtype(), other.dims(), other.strides());
  }

  bool given() const { return given_; }
  Pointer data() const { return data_; }
  DType dtype() const { return dtype_; }
  int rank() const { return rank_; }
  std::int64_t dim(int i) const { return dims_[i]; }
  std::int64_t stride(int i) const { return strides_[i]; }
  std::span<const std::int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  std::span<const std::int64_t> strides() const {
    return {strides_.data(), static_cast<size_t>(rank_)};
  }
  std::int64_t elements() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  /// Elements are adjacent in row-major order (axes of extent 1 do not count).
  bool dense() const {
    std::int64_t stride = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      if (dims_[i] != 1 && strides_[i] != stride) return false;
      stride *= dims_[i];
    }
    return true;
  }
  /// The same memory with the last two axes swapped: the (k, n) view of a dense (n, k) weight.
  BasicTensorRef transposed() const {
    BasicTensorRef t = *this;
    std::swap(t.dims_[rank_ - 1], t.dims_[rank_ - 2]);
    std::swap(t.strides_[rank_ - 1], t.strides_[rank_ - 2]);
    return t;
  }
  /// The same shape over other memory.
  BasicTensorRef with_data(Pointer data) const {
    BasicTensorRef t = *this;
    t.data_ = data;
    return t;
  }

 private:
  Pointer data_ = nullptr;
  DType dtype_ = DType::kFloat32;
  int rank_ = 0;
  bool given_ = false;
  std::array<std::int64_t, kMaxDims> dims_{};
  std::array<std::int64_t, kMaxDims> strides_{};
};

using TensorRef = BasicTensorRef<void*>;
using ConstTensorRef = BasicTensorRef<const void*>;

/// "float16 (4096, 1024)", with " strides (1, 4096)" when not dense, or "none".
WEFT_API std::string to_string(const ConstTensorRef& tensor);

}  // namespace weft
