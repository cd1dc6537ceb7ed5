// SPDX-License-Identifier: Apache-2.0
// FractalNz: a weight in CANN's tiled order, as a Python object.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

#include "core/array.h"
#include "weft/tensor.h"

namespace weft::python {

/// `storage` holds the image of a (rows, columns) matrix; transposed: seen as (columns, rows).
struct FractalNz {
  nb::object storage;
  std::int64_t rows, columns;
  bool transposed;

  /// Of the storage as read. Raises ValueError if it is not dense or too small.
  TensorRef view(const Array& storage, const char* op, const char* name) const;
};

}  // namespace weft::python
