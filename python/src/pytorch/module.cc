// SPDX-License-Identifier: Apache-2.0
// The module weft._torch. Loading it registers the operators of this folder under torch.ops.weft.
#include "pytorch/bindings.h"
#include "pytorch/tensors.h"

PYBIND11_MODULE(_torch, module) {
  module.doc() = "weft for PyTorch; use the package weft.torch.";
  module.attr("torch_version") = WEFT_TORCH_VERSION;
  module.def("group_ranks",
             [](const std::string& key) { return weft::python::communicator(key)->ranks(); });
  weft::python::bind_process_group(module);
}
