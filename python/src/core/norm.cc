// SPDX-License-Identifier: Apache-2.0
#include "core/bindings.h"
#include "core/operators.h"
#include "weft/ops/add_rmsnorm.h"

namespace weft::python {
namespace {

struct AddRmsNormCall : LocalCall<AddRmsNorm, AddRmsNormArgs> {
  static constexpr const char* kName = "add_rmsnorm";
  explicit AddRmsNormCall(Arguments& from) {
    from.input("x1", args.x1);
    from.input("x2", args.x2);
    from.input("gamma", args.gamma);
    from.number("epsilon", args.epsilon);
    from.output("y", args.y);
    from.output("rstd", args.rstd);
    from.output("x", args.x);
  }
};

}  // namespace

void bind_norm(nb::module_& module) { bind_operator<AddRmsNormCall>(module); }

}  // namespace weft::python
