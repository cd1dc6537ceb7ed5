// SPDX-License-Identifier: Apache-2.0
// Calls of the library without the GIL, and their errors as exceptions.
#pragma once

#include <nanobind/nanobind.h>

#include <utility>

#include "runtime/without_gil.h"
#include "weft/status.h"

namespace weft::python {

namespace nb = nanobind;

/// Raises the exception of a status that is not ok, or the one that a signal's handler has raised
/// during the call. With the GIL.
void raise_if_error(const Status& status);

/// call() without the GIL; raises its error.
template <typename Call>
void without_gil(const Call& call) {
  Status status;
  {
    const WithoutGil without;
    status = call();
  }
  raise_if_error(status);
}

/// The value of a Result made with the GIL released.
template <typename Make>
auto made_without_gil(const Make& make) {
  auto result = [&] {
    const WithoutGil without;
    return make();
  }();
  raise_if_error(result.status());
  return std::move(result).value();
}

}  // namespace weft::python
