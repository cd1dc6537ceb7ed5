// SPDX-License-Identifier: Apache-2.0
// Arrays of Python programs where they lie: numpy's, PyTorch's, and those of anything with DLPack.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weft/tensor.h"

namespace weft::python {

namespace nb = nanobind;

/// One array. Strides are in elements.
struct Array {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int rank = 0;
  bool read_only = false;
  std::array<std::int64_t, kMaxDims> dims{}, strides{};

  template <typename Ref>
  Ref view() const {
    const auto axes = static_cast<std::size_t>(rank);
    return {data, dtype, {dims.data(), axes}, {strides.data(), axes}};
  }
};

/// Reads arrays of one call of `op` and holds on to their memory until it is destroyed, with the
/// GIL. Three ways, the quickest that an object has: the buffer protocol (numpy), DLPack's C
/// functions (PyTorch: a tenth of a microsecond, where __dlpack__ takes two), __dlpack__.
class ArrayReader {
 public:
  /// For at most `most` arrays.
  ArrayReader(const char* op, std::size_t most);
  ~ArrayReader();
  ArrayReader(const ArrayReader&) = delete;
  ArrayReader& operator=(const ArrayReader&) = delete;

  const char* op() const { return op_; }
  /// Raises TypeError for what is no array, and ValueError for arrays that are not in this
  /// process's memory or have a dtype that no call takes; each names the operator and the operand.
  Array read(const char* name, nb::handle object);

 private:
  bool read_buffer(const char* name, nb::handle object, Array& array);
  bool read_exchanged(const char* name, nb::handle object, Array& array);
  void read_dlpack(const char* name, nb::handle object, Array& array);
  [[noreturn]] void refuse_dtype(const char* name, nb::handle object) const;
  void set_shape(const char* name, nb::handle object, int rank, Array& array) const;

  const char* op_;
  std::unique_ptr<Py_buffer[]> buffers_;  // of which the first held_ are in use
  std::size_t held_ = 0;
  std::vector<nb::ndarray<nb::ro>> tensors_;
};

/// Raises ValueError "op: name what".
[[noreturn]] void refuse(const char* op, const char* name, const std::string& what);
/// Raises TypeError "op: name must be <wanted>, but is a <type>".
[[noreturn]] void refuse_type(const char* op, const char* name, const char* wanted,
                              nb::handle object);

}  // namespace weft::python
