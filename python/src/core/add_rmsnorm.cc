// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/add_rmsnorm.h"

#include "core/arrays.h"
#include "core/bindings.h"
#include "core/contexts.h"

namespace weft::python {
namespace {

void run(const Contexts& context, const Input& x1, const Input& x2, const Input& gamma,
         double epsilon, const Output& y, const Output& rstd, const Output& x) {
  const AddRmsNormArgs args{.x1 = input("x1", x1),
                            .x2 = input("x2", x2),
                            .gamma = input("gamma", gamma),
                            .epsilon = epsilon,
                            .y = output("y", y),
                            .rstd = output("rstd", rstd),
                            .x = output("x", x)};
  with_context(context, [&](Context& made) { return add_rmsnorm(made, args); });
}

}  // namespace

void bind_add_rmsnorm(nb::module_& module) {
  using nb::arg;
  module.def("add_rmsnorm", &run, arg().none(), arg(), arg(), arg(), arg(), arg(), arg().none(),
             arg());
}

}  // namespace weft::python
