// SPDX-License-Identifier: Apache-2.0
// What files of this folder add to the module weft._torch.
#pragma once

#include <torch/csrc/utils/pybind.h>

namespace weft::python {

void bind_process_group(pybind11::module_& module);

}  // namespace weft::python
