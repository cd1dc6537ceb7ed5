// SPDX-License-Identifier: Apache-2.0
// The module weft._torch. Loading it registers the operators of this folder under torch.ops.weft.
#include "pytorch/bindings.h"
#include "pytorch/moe_experts.h"
#include "pytorch/packed_weight.h"
#include "pytorch/tensors.h"

namespace {

using weft::python::communicator;

// What a group adds to the shapes of results.
int group_ranks(const std::string& key) { return communicator(key)->ranks(); }

std::int64_t local_experts(const std::string& key, std::int64_t moe_expert_num,
                           std::int64_t shared_expert_num, std::int64_t shared_expert_rank_num) {
  const auto group = communicator(key);
  return weft::python::local_experts({.moe_expert_num = moe_expert_num,
                                      .shared_expert_num = shared_expert_num,
                                      .shared_expert_rank_num = shared_expert_rank_num},
                                     *group);
}

std::int64_t packed_columns(std::int64_t handle) {
  return weft::python::packed_weight("a packed weight", handle)->n();
}

}  // namespace

PYBIND11_MODULE(_torch, module) {
  module.doc() = "weft for PyTorch; use the package weft.torch.";
  module.def("group_ranks", &group_ranks);
  module.def("local_expert_num", &local_experts);
  module.def("pack_weight", &weft::python::pack_weight,
             pybind11::call_guard<pybind11::gil_scoped_release>());
  module.def("packed_columns", &packed_columns);
  module.def("release_weight", &weft::python::release_weight);
  weft::python::bind_process_group(module);
}
