// SPDX-License-Identifier: Apache-2.0
#include "tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/fractal_nz.h"
#include "error.h"

namespace weft::cann {
namespace {

using Dims = std::vector<std::int64_t>;

Status bad(const char* name, const std::string& what) {
  return Status(StatusCode::kInvalidArgument, fmt::format("{}: {}", name, what));
}

/// False if the product is negative or does not fit.
bool product_of(const Dims& dims, std::int64_t& product) {
  product = 1;
  for (std::int64_t dim : dims)
    if (dim < 0 || __builtin_mul_overflow(product, dim, &product)) return false;
  return true;
}

/// The lowest and highest element of a view that has some; false on overflow.
bool reach_of(const Tensor& t, std::int64_t& lowest, std::int64_t& highest) {
  lowest = highest = t.offset;
  for (std::size_t i = 0; i < t.dims.size(); ++i) {
    std::int64_t reach = 0;
    std::int64_t& end = t.strides[i] < 0 ? lowest : highest;
    if (__builtin_mul_overflow(t.dims[i] - 1, t.strides[i], &reach) ||
        __builtin_add_overflow(end, reach, &end))
      return false;
  }
  return true;
}

Status check_view(const char* name, const Tensor& t) {
  if (t.dims.size() > static_cast<std::size_t>(kMaxDims))
    return bad(name, fmt::format("{} axes; at most {}", t.dims.size(), kMaxDims));
  std::int64_t elements = 0, stored = 0;
  if (!product_of(t.dims, elements))
    return bad(name, fmt::format("the shape {} is negative or too large", fmt::join(t.dims, ", ")));
  if (!product_of(t.storage_dims, stored))
    return bad(name, fmt::format("the storage shape {} is negative or too large",
                                 fmt::join(t.storage_dims, ", ")));
  if (elements == 0 || t.fractal_nz()) return {};
  std::int64_t lowest = 0, highest = 0;
  if (!reach_of(t, lowest, highest) || lowest < 0 || highest >= stored)
    return bad(name,
               fmt::format("shape ({}), strides ({}), offset {} reach beyond the storage of {} "
                           "elements",
                           fmt::join(t.dims, ", "), fmt::join(t.strides, ", "), t.offset, stored));
  return {};
}

Result<TensorRef> fractal_nz_ref(const char* name, const Tensor& t, DType dtype) {
  if (t.dims.size() != 2 || t.offset != 0)
    return bad(name, fmt::format("FRACTAL_NZ has {} axes and offset {} but must have 2 and 0",
                                 t.dims.size(), t.offset));
  const std::int64_t rows = t.dims[0], columns = t.dims[1];
  const bool one = rows == 1 && columns == 1;
  const bool transposed = !one && t.strides[0] == 1 && t.strides[1] == rows;
  if (!transposed && !t.dense())
    return bad(name, fmt::format("FRACTAL_NZ with strides ({}); they must be ({}, 1) or (1, {})",
                                 fmt::join(t.strides, ", "), columns, rows));
  const FractalNz image(dtype, transposed ? columns : rows, transposed ? rows : columns);
  const Dims expected = {image.chunks, image.rows / FractalNz::kRowMultiple,
                         FractalNz::kRowMultiple, image.c0};
  if (t.storage_dims != expected)
    return bad(name, fmt::format("the storage shape ({}) is not that of FRACTAL_NZ for this view, "
                                 "({})",
                                 fmt::join(t.storage_dims, ", "), fmt::join(expected, ", ")));
  if (!transposed) return TensorRef::fractal_nz(t.data, dtype, rows, columns);
  return TensorRef::fractal_nz(t.data, dtype, columns, rows).transposed();
}

}  // namespace

bool Tensor::empty() const { return std::find(dims.begin(), dims.end(), 0) != dims.end(); }

bool Tensor::dense() const {
  std::int64_t stride = 1;
  for (std::size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1 && strides[i] != stride) return false;
    if (__builtin_mul_overflow(stride, dims[i], &stride)) return false;
  }
  return true;
}

bool Tensor::fractal_nz() const {
  return number_of(storage_format) == ACL_FORMAT_FRACTAL_NZ && storage_dims.size() == 4;
}

bool Tensor::tiled() const {
  constexpr int kTiled[] = {
      ACL_FORMAT_NC1HWC0,          ACL_FORMAT_FRACTAL_Z,        ACL_FORMAT_NC1HWC0_C04,
      ACL_FORMAT_FRACTAL_NZ,       ACL_FORMAT_NDC1HWC0,         ACL_FRACTAL_Z_3D,
      ACL_FORMAT_FRACTAL_NZ_C0_16, ACL_FORMAT_FRACTAL_NZ_C0_32, ACL_FORMAT_FRACTAL_NZ_C0_2,
      ACL_FORMAT_FRACTAL_NZ_C0_4,  ACL_FORMAT_FRACTAL_NZ_C0_8};
  return std::ranges::find(kTiled, number_of(storage_format)) != std::end(kTiled);
}

Descriptions& Descriptions::instance() {
  static auto* const descriptions = new Descriptions;  // programs destroy theirs after main, too
  return *descriptions;
}

Result<DType> to_dtype(const char* name, aclDataType dtype) {
  constexpr DType kAll[] = {
#define WEFT_DTYPE(enumerator, ...) DType::enumerator,
#include "base/dtype.inc"
#undef WEFT_DTYPE
  };
  for (DType known : kAll)
    if (info(known).cann == number_of(dtype)) return known;
  return bad(name, fmt::format("aclDataType {} is not supported", number_of(dtype)));
}

Result<TensorRef> to_tensor_ref(const char* name, const Tensor& tensor) {
  WEFT_ASSIGN_OR_RETURN(const DType dtype, to_dtype(name, tensor.dtype));
  WEFT_RETURN_IF_ERROR(check_view(name, tensor));
  if (tensor.fractal_nz()) return fractal_nz_ref(name, tensor, dtype);
  const std::int64_t bits = info(dtype).bits;
  std::int64_t offset_bits = 0;
  if (__builtin_mul_overflow(tensor.offset, bits, &offset_bits) || offset_bits % 8 != 0)
    return bad(name, fmt::format("the offset of {} elements is too large, or begins in the middle "
                                 "of a byte",
                                 tensor.offset));
  auto* data = static_cast<std::byte*>(tensor.data);
  if (data) data += offset_bits / 8;
  return TensorRef(data, dtype, tensor.dims, tensor.strides);
}

}  // namespace weft::cann
