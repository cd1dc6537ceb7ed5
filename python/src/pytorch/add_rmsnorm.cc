// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/add_rmsnorm.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/tensors.h"

namespace weft::python {
namespace {

void write(const at::Tensor& x1, const at::Tensor& x2, const at::Tensor& gamma, double epsilon,
           at::Tensor& y, at::Tensor& rstd, at::Tensor& x) {
  run([&](Context& context) {
    return add_rmsnorm(context, {.x1 = input("x1", x1),
                                 .x2 = input("x2", x2),
                                 .gamma = input("gamma", gamma),
                                 .epsilon = epsilon,
                                 .y = output(y),
                                 .rstd = output(rstd),
                                 .x = output(x)});
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> make(const at::Tensor& x1, const at::Tensor& x2,
                                                    const at::Tensor& gamma, double epsilon) {
  std::vector<std::int64_t> rstd_shape = x1.sizes().vec();
  for (std::int64_t i = std::max<std::int64_t>(x1.dim() - gamma.dim(), 0); i < x1.dim(); ++i)
    rstd_shape[static_cast<std::size_t>(i)] = 1;
  at::Tensor y = at::empty(x1.sizes(), x1.options());
  at::Tensor rstd = at::empty(rstd_shape, x1.options().dtype(at::kFloat));
  at::Tensor x = at::empty(x1.sizes(), x1.options());
  write(x1, x2, gamma, epsilon, y, rstd, x);
  return {y, rstd, x};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  library.def(
      "add_rmsnorm(Tensor x1, Tensor x2, Tensor gamma, float epsilon=1e-06) -> (Tensor y, Tensor "
      "rstd, Tensor x)",
      kTags);
  library.def(
      "add_rmsnorm.out(Tensor x1, Tensor x2, Tensor gamma, float epsilon=1e-06, *, Tensor(a!) y, "
      "Tensor(b!) rstd, Tensor(c!) x) -> ()",
      kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("add_rmsnorm", &make);
  library.impl("add_rmsnorm.out", &write);
}

}  // namespace weft::python
