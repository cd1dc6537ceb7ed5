// SPDX-License-Identifier: Apache-2.0
#include "guarded_tensor.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "base/fractal_nz.h"
#include "ops/reference_bounds.h"

namespace weft::testing {
namespace {

constexpr std::byte kCanary{0xff};
constexpr std::int64_t kGuardBytes = 256;

/// Calls body(offset in a, offset in b) for every element of two tensors of the same extents, in
/// row-major order.
template <typename Body>
void for_pairs(const ConstTensorRef& a, const ConstTensorRef& b, const Body& body) {
  const std::int64_t elements = a.elements();
  std::array<std::int64_t, kMaxDims> at{};
  std::int64_t in_a = 0, in_b = 0;
  for (std::int64_t i = 0; i < elements; ++i) {
    body(in_a, in_b);
    for (int axis = a.rank() - 1; axis >= 0; --axis) {
      std::int64_t& index = at[static_cast<std::size_t>(axis)];
      in_a += a.stride(axis);
      in_b += b.stride(axis);
      if (++index < a.dim(axis)) break;
      in_a -= index * a.stride(axis);
      in_b -= index * b.stride(axis);
      index = 0;
    }
  }
}

/// Calls body(position in row-major order, offset by strides) for every element.
template <typename Body>
void for_elements(const ConstTensorRef& tensor, const Body& body) {
  for_pairs(ConstTensorRef(nullptr, tensor.dtype(), tensor.dims()), tensor, body);
}

void copy_element(DType dtype, const std::byte* from, std::int64_t from_index, std::byte* to,
                  std::int64_t to_index) {
  if (dtype != DType::kInt4) {
    const std::int64_t bytes = info(dtype).bits / 8;
    std::memcpy(to + to_index * bytes, from + from_index * bytes, static_cast<std::size_t>(bytes));
    return;
  }
  const int value = std::to_integer<int>(from[from_index / 2]) >> (from_index % 2 * 4) & 15;
  const int shift = static_cast<int>(to_index % 2 * 4);
  std::byte& byte = to[to_index / 2];
  byte = (byte & static_cast<std::byte>(~(15 << shift))) | static_cast<std::byte>(value << shift);
}

/// The bits of a value in their lowest places.
std::uint64_t encode(DType dtype, double value) {
  switch (dtype) {
    case DType::kFloat32:
      return std::bit_cast<std::uint32_t>(static_cast<float>(value));
    case DType::kFloat16:
      return f64_to_fp16(value);
    case DType::kBFloat16:
      return f64_to_bf16(value);
    case DType::kInt64:
    case DType::kUInt64:
      return std::uint64_t{1} << 46 | std::bit_cast<std::uint32_t>(static_cast<float>(value));
    default:
      return static_cast<std::uint64_t>(std::llround(value));
  }
}

}  // namespace

GuardedTensor::GuardedTensor(DType dtype, const std::vector<std::int64_t>& dims,
                             const std::vector<std::int64_t>& strides) {
  allocate(dtype, dims, strides);
  original_ = memory_;
}

GuardedTensor::GuardedTensor(const ConstTensorRef& from, const std::vector<std::int64_t>& strides) {
  if (!from.given()) return;
  allocate(from.dtype(), {from.dims().begin(), from.dims().end()}, strides);
  const auto* source = static_cast<const std::byte*>(from.data());
  for_pairs(from, view(), [&](std::int64_t at, std::int64_t to) {
    copy_element(from.dtype(), source, at, base(memory_), to);
  });
  original_ = memory_;
}

GuardedTensor GuardedTensor::fractal_nz(const ConstTensorRef& from) {
  const bool transposed = from.fractal_nz_transposed();
  const std::int64_t rows = from.dim(transposed ? 1 : 0), columns = from.dim(transposed ? 0 : 1);
  const std::int64_t elements = FractalNz(from.dtype(), rows, columns).elements();
  GuardedTensor image(ConstTensorRef(from.data(), from.dtype(), {elements}), {1});
  const TensorRef view = TensorRef::fractal_nz(nullptr, from.dtype(), rows, columns);
  image.tensor_ = transposed ? view.transposed() : view;
  return image;
}

void GuardedTensor::allocate(DType dtype, const std::vector<std::int64_t>& dims,
                             const std::vector<std::int64_t>& strides) {
  tensor_ = TensorRef(nullptr, dtype, dims, strides);
  std::int64_t least = 0, most = 0;
  for (int axis = 0; axis < tensor_.rank() && tensor_.elements() > 0; ++axis) {
    const std::int64_t reach = (tensor_.dim(axis) - 1) * tensor_.stride(axis);
    (reach < 0 ? least : most) += reach;
  }
  // One element behind an aligned address: kernels must not need more than the type's alignment.
  const int bits = info(dtype).bits;
  offset_ = kGuardBytes + (bits + 7) / 8 - least * bits / 8;
  const auto bytes = static_cast<std::size_t>(offset_ + ((most + 1) * bits + 7) / 8 + kGuardBytes);
  memory_.assign(bytes, kCanary);
  owned_.assign(bytes, false);
  for_elements(tensor_, [&](std::int64_t, std::int64_t at) {
    const std::int64_t begin = offset_ + at * bits / 8, end = offset_ + ((at + 1) * bits + 7) / 8;
    for (std::int64_t byte = begin; byte < end; ++byte)
      owned_[static_cast<std::size_t>(byte)] = true;
  });
}

TensorRef GuardedTensor::writable() const {
  return tensor_.given() ? tensor_.with_data(base(memory_)) : TensorRef();
}

ConstTensorRef GuardedTensor::original() const {
  return tensor_.given() ? ConstTensorRef(tensor_.with_data(base(original_))) : ConstTensorRef();
}

bool GuardedTensor::guards_intact() const {
  for (std::size_t i = 0; i < memory_.size(); ++i)
    if (!owned_[i] && memory_[i] != original_[i]) return false;
  return true;
}

std::vector<std::uint16_t> GuardedTensor::bits() const {
  std::vector<std::uint16_t> result(static_cast<std::size_t>(tensor_.elements()));
  for_elements(tensor_, [&](std::int64_t i, std::int64_t offset) {
    std::memcpy(&result[static_cast<std::size_t>(i)], base(memory_) + offset * 2, 2);
  });
  return result;
}

std::vector<double> GuardedTensor::values() const {
  std::vector<double> result(static_cast<std::size_t>(tensor_.elements()));
  for_elements(tensor_, [&](std::int64_t i, std::int64_t offset) {
    result[static_cast<std::size_t>(i)] = ops::element_value(view(), offset);
  });
  return result;
}

void GuardedTensor::set(const std::vector<double>& values) {
  std::vector<std::uint64_t> words;
  for (double value : values) words.push_back(encode(tensor_.dtype(), value));
  set_words(words);
}

void GuardedTensor::set_words(const std::vector<std::uint64_t>& words) {
  for_elements(tensor_, [&](std::int64_t i, std::int64_t offset) {
    const auto* from = reinterpret_cast<const std::byte*>(&words.at(static_cast<std::size_t>(i)));
    copy_element(tensor_.dtype(), from, 0, base(memory_), offset);
  });
  original_ = memory_;
}

void GuardedTensor::take_beginning(const GuardedTensor& from) {
  std::memcpy(base(memory_), from.base(from.memory_),
              static_cast<std::size_t>(bytes_of(tensor_.dtype(), tensor_.elements())));
  original_ = memory_;
}

std::vector<std::int64_t> padded_strides(const std::vector<std::int64_t>& dims, std::int64_t row,
                                         std::int64_t batch) {
  std::vector<std::int64_t> strides(dims.size(), 1);
  for (std::size_t axis = dims.size() - 1; axis-- > 0;) {
    const std::int64_t inner = std::max<std::int64_t>(dims[axis + 1], 1) * strides[axis + 1];
    strides[axis] = inner + (axis + 2 == dims.size() ? row : batch);
  }
  return strides;
}

}  // namespace weft::testing
