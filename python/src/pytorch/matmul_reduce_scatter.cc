// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/matmul_reduce_scatter.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/packed_weight.h"
#include "pytorch/tensors.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;

// All operands but the weight and the output, which the forms of the operator give.
MatmulReduceScatterArgs operands(const at::Tensor& x1, const Optional& bias,
                                 const Optional& x1_scale, const Optional& x2_scale) {
  return {.x1 = input("x1", x1),
          .bias = input("bias", bias),
          .x1_scale = input("x1_scale", x1_scale),
          .x2_scale = input("x2_scale", x2_scale),
          .output = {}};
}

void call(std::string_view group, const MatmulReduceScatterArgs& args) {
  run(group,
      [&](Context& context, Group& ranks) { return matmul_reduce_scatter(context, ranks, args); });
}

at::Tensor room(const at::Tensor& x1, std::int64_t columns, std::string_view group,
                std::optional<at::ScalarType> dtype) {
  std::vector<std::int64_t> shape = product_shape(x1, columns);
  if (!shape.empty()) shape.front() /= communicator(group)->ranks();
  return at::empty(shape, x1.options().dtype(dtype.value_or(result_dtype(x1, std::nullopt))));
}

void write(const at::Tensor& x1, const at::Tensor& x2, std::string_view group, const Optional& bias,
           const Optional& x1_scale, const Optional& x2_scale, at::Tensor& out) {
  MatmulReduceScatterArgs args = operands(x1, bias, x1_scale, x2_scale);
  args.x2 = weight("x2", x2);
  args.output = output(out);
  call(group, args);
}

at::Tensor make(const at::Tensor& x1, const at::Tensor& x2, std::string_view group,
                const Optional& bias, const Optional& x1_scale, const Optional& x2_scale,
                std::optional<at::ScalarType> dtype) {
  at::Tensor out = room(x1, columns(x2), group, dtype);
  write(x1, x2, group, bias, x1_scale, x2_scale, out);
  return out;
}

at::Tensor make_packed(const at::Tensor& x1, std::int64_t packed_x2, std::string_view group,
                       const Optional& bias, const Optional& x1_scale, const Optional& x2_scale,
                       std::optional<at::ScalarType> dtype) {
  const auto packed = packed_weight("packed_x2", packed_x2);
  at::Tensor out = room(x1, packed->n(), group, dtype);
  MatmulReduceScatterArgs args = operands(x1, bias, x1_scale, x2_scale);
  args.packed_x2 = packed.get();
  args.output = output(out);
  call(group, args);
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  const std::string name = "matmul_reduce_scatter",
                    rest =
                        ", str group, *, Tensor? bias=None, Tensor? x1_scale=None, Tensor? "
                        "x2_scale=None, ",
                    result = "ScalarType? dtype=None) -> Tensor";
  library.def((name + "(Tensor x1, Tensor x2" + rest + result).c_str(), kTags);
  library.def((name + ".packed(Tensor x1, int packed_x2" + rest + result).c_str(), kTags);
  library.def((name + ".out(Tensor x1, Tensor x2" + rest + "Tensor(a!) out) -> ()").c_str(), kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("matmul_reduce_scatter", &make);
  library.impl("matmul_reduce_scatter.out", &write);
  library.impl("matmul_reduce_scatter.packed", &make_packed);
}

}  // namespace weft::python
