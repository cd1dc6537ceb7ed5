// SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>

#include "core/bindings.h"
#include "core/operators.h"

namespace weft::python {
namespace {

void bind_planner(nb::module_& module) {
  nb::class_<Planner>(module, "Planner")
      .def(
          "__init__",
          [](Planner* self, nb::object target) {
            new (self) Planner{std::move(target), {}};
          },
          nb::arg("target").none())
      .def_ro("planned", &Planner::planned);
}

}  // namespace
}  // namespace weft::python

NB_MODULE(_core, module) {
  using namespace weft::python;
  module.doc() = "weft's compiled core; use the package weft, which says what its functions take.";
  // Programs may end with threads inside a call, whose objects then outlive the module.
  nb::set_leak_warnings(false);
  bind_planner(module);
  bind_group(module);
  bind_collectives(module);
  bind_ffn(module);
  bind_matmul(module);
  bind_moe(module);
  bind_norm(module);
  bind_routing(module);
  bind_weights(module);
}
