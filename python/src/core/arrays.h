// SPDX-License-Identifier: Apache-2.0
// Arrays of Python programs as views: numpy's, and those of anything with DLPack.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>

#include <optional>

#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::python {

namespace nb = nanobind;

/// An operand, or None. Read-only arrays may be inputs.
using Input = std::optional<nb::ndarray<nb::ro, nb::device::cpu>>;
using Output = std::optional<nb::ndarray<nb::device::cpu>>;

/// The view of an array, or one that stands for "not given". Raises ValueError for a dtype that no
/// operator knows and for more than kMaxDims axes.
ConstTensorRef input(const char* name, const Input& array);
TensorRef output(const char* name, const Output& array);

/// Raises the exception of a status that is not ok, or the one that a signal's handler has raised
/// during the call. With the GIL.
void raise_if_error(const Status& status);

/// call() without the GIL; raises its error.
template <typename Call>
void without_gil(const Call& call) {
  Status status;
  {
    nb::gil_scoped_release release;
    status = call();
  }
  raise_if_error(status);
}

/// The value of a Result made with the GIL released.
template <typename Make>
auto made_without_gil(const Make& make) {
  auto result = [&] {
    nb::gil_scoped_release release;
    return make();
  }();
  raise_if_error(result.status());
  return std::move(result).value();
}

}  // namespace weft::python
