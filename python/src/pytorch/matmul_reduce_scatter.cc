// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/matmul_reduce_scatter.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/tensors.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;

at::Tensor& write(const at::Tensor& x1, const at::Tensor& x2, std::string_view group,
                  const Optional& bias, const Optional& x1_scale, const Optional& x2_scale,
                  at::Tensor& out) {
  const MatmulReduceScatterArgs args{.x1 = input("x1", x1),
                                     .x2 = weight("x2", x2),
                                     .bias = input("bias", bias),
                                     .x1_scale = input("x1_scale", x1_scale),
                                     .x2_scale = input("x2_scale", x2_scale),
                                     .output = output(out)};
  run(group,
      [&](Context& context, Group& ranks) { return matmul_reduce_scatter(context, ranks, args); });
  return out;
}

at::Tensor make(const at::Tensor& x1, const at::Tensor& x2, std::string_view group,
                const Optional& bias, const Optional& x1_scale, const Optional& x2_scale,
                std::optional<at::ScalarType> dtype) {
  std::vector<std::int64_t> shape = product_shape(x1, columns(x2));
  if (!shape.empty()) shape.front() /= communicator(group)->ranks();
  at::Tensor out =
      at::empty(shape, x1.options().dtype(dtype.value_or(result_dtype(x1, std::nullopt))));
  return write(x1, x2, group, bias, x1_scale, x2_scale, out);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  const std::string operands =
      "(Tensor x1, Tensor x2, str group, *, Tensor? bias=None, Tensor? x1_scale=None, "
      "Tensor? x2_scale=None, ";
  library.def(("matmul_reduce_scatter" + operands + "ScalarType? dtype=None) -> Tensor").c_str(),
              kTags);
  library.def(("matmul_reduce_scatter.out" + operands + "Tensor(a!) out) -> Tensor(a!)").c_str(),
              kOutTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("matmul_reduce_scatter", &make);
  library.impl("matmul_reduce_scatter.out", &write);
}

}  // namespace weft::python
