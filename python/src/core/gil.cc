// SPDX-License-Identifier: Apache-2.0
#include "core/gil.h"

#include "runtime/errors.h"

namespace weft::python {

void raise_if_error(const Status& status) {
  if (PyErr_Occurred()) throw nb::python_error();
  if (status.ok()) return;
  set_python_error(status);
  throw nb::python_error();
}

}  // namespace weft::python
