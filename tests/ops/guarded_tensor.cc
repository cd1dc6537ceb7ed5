// SPDX-License-Identifier: Apache-2.0
#include "guarded_tensor.h"

#include <cstring>

namespace weft::testing {
namespace {

constexpr std::byte kCanary{0xff};
constexpr std::int64_t kGuardBytes = 256;

/// Calls body(position in row-major order, offset by strides) for every element.
template <typename Body>
void for_elements(const ConstTensorRef& tensor, const Body& body) {
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    std::int64_t rest = i, offset = 0;
    for (int axis = tensor.rank() - 1; axis >= 0; --axis) {
      offset += rest % tensor.dim(axis) * tensor.stride(axis);
      rest /= tensor.dim(axis);
    }
    body(i, offset);
  }
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

}  // namespace

GuardedTensor::GuardedTensor(DType dtype, const std::vector<std::int64_t>& dims,
                             const std::vector<std::int64_t>& strides) {
  allocate(dtype, dims, strides);
  original_ = memory_;
}

GuardedTensor::GuardedTensor(const ConstTensorRef& from, const std::vector<std::int64_t>& strides) {
  if (!from.given()) return;
  allocate(from.dtype(), {from.dims().begin(), from.dims().end()}, strides);
  std::vector<std::int64_t> to;
  for_elements(view(), [&](std::int64_t, std::int64_t offset) { to.push_back(offset); });
  const auto* source = static_cast<const std::byte*>(from.data());
  for_elements(from, [&](std::int64_t i, std::int64_t offset) {
    copy_element(from.dtype(), source, offset, base(memory_), to[static_cast<std::size_t>(i)]);
  });
  original_ = memory_;
}

void GuardedTensor::allocate(DType dtype, const std::vector<std::int64_t>& dims,
                             const std::vector<std::int64_t>& strides) {
  tensor_ = TensorRef(nullptr, dtype, dims, strides);
  std::int64_t least = 0, most = -1;
  for_elements(tensor_, [&](std::int64_t, std::int64_t at) {
    least = std::min(least, at);
    most = std::max(most, at);
  });
  // One element behind an aligned address: kernels must not need more than the type's alignment.
  const int bits = info(dtype).bits;
  offset_ = kGuardBytes + (bits + 7) / 8 - least * bits / 8;
  const auto bytes = static_cast<std::size_t>(offset_ + ((most + 1) * bits + 7) / 8 + kGuardBytes);
  memory_.assign(bytes, kCanary);
  owned_.assign(bytes, false);
  for_elements(tensor_, [&](std::int64_t, std::int64_t at) {
    for (std::int64_t bit = at * bits; bit < (at + 1) * bits; bit += 4)
      owned_[static_cast<std::size_t>(offset_ + bit / 8)] = true;
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
