// SPDX-License-Identifier: Apache-2.0
// Tensors for tests, laid out with any strides, with canaries around and between their elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "weft/tensor.h"

namespace weft::testing {

/// The canary is 0xff: a nan in float16 and bfloat16, so that reading one spoils the result too.
class GuardedTensor {
 public:
  GuardedTensor() = default;  ///< not given
  /// The elements of `from`, laid out with other strides.
  GuardedTensor(const ConstTensorRef& from, const std::vector<std::int64_t>& strides);
  /// Elements that hold the canary, for outputs.
  GuardedTensor(DType dtype, const std::vector<std::int64_t>& dims,
                const std::vector<std::int64_t>& strides);
  /// The image of a FRACTAL_NZ view, padding included.
  static GuardedTensor fractal_nz(const ConstTensorRef& from);

  bool given() const { return tensor_.given(); }
  /// The view over this object's own memory.
  TensorRef writable() const;
  ConstTensorRef view() const { return writable(); }
  /// The view over the memory as it was before any call.
  ConstTensorRef original() const;

  /// No byte outside the elements has changed.
  bool guards_intact() const;
  /// No byte at all has changed.
  bool unchanged() const { return memory_ == original_; }
  /// Back to the state after construction.
  void reset() { memory_ = original_; }
  /// The elements of a 16-bit type in row-major order.
  std::vector<std::uint16_t> bits() const;
  /// The elements in row-major order; those of a 64-bit type are packed scales.
  std::vector<double> values() const;
  /// Other elements, from before any call on. Rounded to the type; or the low bits of words.
  void set(const std::vector<double>& values);
  void set_words(const std::vector<std::uint64_t>& words);
  /// The first elements of a tensor that is at least as long. Both are dense.
  void take_beginning(const GuardedTensor& from);

 private:
  void allocate(DType dtype, const std::vector<std::int64_t>& dims,
                const std::vector<std::int64_t>& strides);
  std::byte* base(std::vector<std::byte>& memory) const { return memory.data() + offset_; }

  TensorRef tensor_;
  std::int64_t offset_ = 0;
  mutable std::vector<std::byte> memory_;
  mutable std::vector<std::byte> original_;
  std::vector<bool> owned_;
};

/// Row-major strides with `row` elements between rows more than needed, and `batch` more between
/// the matrices of a 3-D tensor.
std::vector<std::int64_t> padded_strides(const std::vector<std::int64_t>& dims, std::int64_t row,
                                         std::int64_t batch);

}  // namespace weft::testing
