// SPDX-License-Identifier: Apache-2.0
// What each file of this folder adds to the module weft._core. Its functions take a place to
// compute and operands in the order of the operator's struct; names, defaults, allocation and
// docstrings are in weft/*.py.
#pragma once

#include <nanobind/nanobind.h>

namespace weft::python {

void bind_collectives(nanobind::module_& module);
void bind_ffn(nanobind::module_& module);
void bind_group(nanobind::module_& module);
void bind_matmul(nanobind::module_& module);
void bind_moe(nanobind::module_& module);
void bind_norm(nanobind::module_& module);
void bind_routing(nanobind::module_& module);
void bind_weights(nanobind::module_& module);

}  // namespace weft::python
