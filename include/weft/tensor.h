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

/// How the elements of a view lie in memory.
enum class Format : std::uint8_t {
  kStrided,    ///< where the strides say
  kFractalNz,  ///< CANN's tiled order of a matrix, see BasicTensorRef::fractal_nz
};

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
  /// A (rows, columns) matrix stored as FRACTAL_NZ: (ceil(columns / c0), ceil(rows / 16), 16, c0)
  /// blocks with c0 = 32 bytes of elements, padding included. Strides are those of the dense
  /// matrix; transposed() is the (columns, rows) view of the same storage.
  static BasicTensorRef fractal_nz(Pointer data, DType dtype, std::int64_t rows,
                                   std::int64_t columns) {
    BasicTensorRef t(data, dtype, {rows, columns});
    t.format_ = Format::kFractalNz;
    return t;
  }
  /// A view of writable memory can be read.
  template <typename Other>
  requires(std::is_const_v<std::remove_pointer_t<Pointer>>&& std::is_same_v<Other, void*>)
      BasicTensorRef(const BasicTensorRef<Other>& other) {
    if (!other.given()) return;
    *this = BasicTensorRef(other.data(), other.dtype(), other.dims(), other.strides());
    format_ = other.format();
  }

  bool given() const { return given_; }
  Pointer data() const { return data_; }
  DType dtype() const { return dtype_; }
  Format format() const { return format_; }
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
    if (format_ != Format::kStrided) return false;
    std::int64_t stride = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      if (dims_[i] != 1 && strides_[i] != stride) return false;
      stride *= dims_[i];
    }
    return true;
  }
  /// A FRACTAL_NZ view whose storage is the image of the (columns, rows) matrix.
  bool fractal_nz_transposed() const {
    return format_ == Format::kFractalNz && !(strides_[1] == 1 && strides_[0] == dims_[1]);
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
  Format format_ = Format::kStrided;
  int rank_ = 0;
  bool given_ = false;
  std::array<std::int64_t, kMaxDims> dims_{};
  std::array<std::int64_t, kMaxDims> strides_{};
};

using TensorRef = BasicTensorRef<void*>;
using ConstTensorRef = BasicTensorRef<const void*>;

/// "float16 (4096, 1024)", with " strides (1, 4096)" or " FRACTAL_NZ" when not dense, or "none".
WEFT_API std::string to_string(const ConstTensorRef& tensor);

}  // namespace weft
