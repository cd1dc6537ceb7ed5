// SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>

#include "core/bindings.h"

NB_MODULE(_core, module) {
  module.doc() = "weft's compiled core; use the package weft, which says what its functions take.";
  weft::python::bind_group(module);
  weft::python::bind_add_rmsnorm(module);
}
