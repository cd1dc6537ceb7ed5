// SPDX-License-Identifier: Apache-2.0
// The collectives around a sequence-parallel layer, and the gradient of matmul_reduce_scatter.
#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/tensors.h"
#include "weft/collectives.h"

namespace weft::python {
namespace {

void check_axes(const at::Tensor& x) {
  if (x.dim() == 0) refuse_operand("x", "has no axes, but the ranks' rows are along the first one");
}

at::Tensor gather(const at::Tensor& x, std::string_view group) {
  check_axes(x);
  const at::Tensor send = x.contiguous();
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.front() *= communicator(group)->ranks();
  at::Tensor out = at::empty(shape, x.options());
  const ConstTensorRef from = input("x", send);
  run(group, [&](Context& context, Group& ranks) {
    return allgather(context, ranks, from.data(), out.data_ptr(), from.elements(), from.dtype());
  });
  return out;
}

at::Tensor scatter(const at::Tensor& x, std::string_view group) {
  check_axes(x);
  const at::Tensor send = x.contiguous();
  const std::int64_t ranks = communicator(group)->ranks(), rows = x.size(0);
  if (rows % ranks != 0)
    refuse_operand("x", "has " + std::to_string(rows) + " rows, which must be a multiple of the " +
                            std::to_string(ranks) + " ranks; pad it with zero rows");
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.front() /= ranks;
  at::Tensor out = at::empty(shape, x.options());
  const ConstTensorRef from = input("x", send);
  run(group, [&](Context& context, Group& all) {
    return reduce_scatter(context, all, from.data(), out.data_ptr(), out.numel(), from.dtype());
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  library.def("all_gather(Tensor x, str group) -> Tensor", kTags);
  library.def("reduce_scatter(Tensor x, str group) -> Tensor", kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("all_gather", &gather);
  library.impl("reduce_scatter", &scatter);
}

}  // namespace weft::python
