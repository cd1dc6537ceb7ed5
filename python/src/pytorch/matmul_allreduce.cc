// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/matmul_allreduce.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/packed_weight.h"
#include "pytorch/tensors.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;

// All operands but the weight and the output, which the forms of the operator give.
MatmulAllReduceArgs operands(const at::Tensor& x1, const Optional& bias, const Optional& x3,
                             const Optional& dequant_scale, const Optional& pertoken_scale,
                             const Optional& antiquant_scale, const Optional& antiquant_offset,
                             std::int64_t antiquant_group_size, const Optional& comm_quant_scale_1,
                             const Optional& comm_quant_scale_2) {
  return {.x1 = input("x1", x1),
          .bias = input("bias", bias),
          .x3 = input("x3", x3),
          .dequant_scale = input("dequant_scale", dequant_scale),
          .pertoken_scale = input("pertoken_scale", pertoken_scale),
          .antiquant_scale = input("antiquant_scale", antiquant_scale),
          .antiquant_offset = input("antiquant_offset", antiquant_offset),
          .antiquant_group_size = antiquant_group_size,
          .comm_quant_scale_1 = input("comm_quant_scale_1", comm_quant_scale_1),
          .comm_quant_scale_2 = input("comm_quant_scale_2", comm_quant_scale_2),
          .output = {}};
}

void call(std::string_view group, const MatmulAllReduceArgs& args) {
  run(group,
      [&](Context& context, Group& ranks) { return matmul_allreduce(context, ranks, args); });
}

void write(const at::Tensor& x1, const at::Tensor& x2, std::string_view group, const Optional& bias,
           const Optional& x3, const Optional& dequant_scale, const Optional& pertoken_scale,
           const Optional& antiquant_scale, const Optional& antiquant_offset,
           std::int64_t antiquant_group_size, const Optional& comm_quant_scale_1,
           const Optional& comm_quant_scale_2, at::Tensor& out) {
  MatmulAllReduceArgs args =
      operands(x1, bias, x3, dequant_scale, pertoken_scale, antiquant_scale, antiquant_offset,
               antiquant_group_size, comm_quant_scale_1, comm_quant_scale_2);
  args.x2 = weight("x2", x2);
  args.output = output(out);
  call(group, args);
}

at::Tensor make(const at::Tensor& x1, const at::Tensor& x2, std::string_view group,
                const Optional& bias, const Optional& x3, const Optional& dequant_scale,
                const Optional& pertoken_scale, const Optional& antiquant_scale,
                const Optional& antiquant_offset, std::int64_t antiquant_group_size,
                const Optional& comm_quant_scale_1, const Optional& comm_quant_scale_2) {
  at::Tensor out = at::empty(product_shape(x1, columns(x2)),
                             x1.options().dtype(result_dtype(x1, dequant_scale)));
  write(x1, x2, group, bias, x3, dequant_scale, pertoken_scale, antiquant_scale, antiquant_offset,
        antiquant_group_size, comm_quant_scale_1, comm_quant_scale_2, out);
  return out;
}

at::Tensor make_packed(const at::Tensor& x1, std::int64_t packed_x2, std::string_view group,
                       const Optional& bias, const Optional& x3, const Optional& dequant_scale,
                       const Optional& pertoken_scale, const Optional& comm_quant_scale_1,
                       const Optional& comm_quant_scale_2) {
  const auto packed = packed_weight("packed_x2", packed_x2);
  at::Tensor out = at::empty(product_shape(x1, packed->n()),
                             x1.options().dtype(result_dtype(x1, dequant_scale)));
  MatmulAllReduceArgs args = operands(x1, bias, x3, dequant_scale, pertoken_scale, std::nullopt,
                                      std::nullopt, 0, comm_quant_scale_1, comm_quant_scale_2);
  args.packed_x2 = packed.get();
  args.output = output(out);
  call(group, args);
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  const std::string operands =
      "(Tensor x1, Tensor x2, str group, *, Tensor? bias=None, Tensor? x3=None, "
      "Tensor? dequant_scale=None, Tensor? pertoken_scale=None, Tensor? antiquant_scale=None, "
      "Tensor? antiquant_offset=None, int antiquant_group_size=0, "
      "Tensor? comm_quant_scale_1=None, Tensor? comm_quant_scale_2=None";
  library.def(("matmul_allreduce" + operands + ") -> Tensor").c_str(), kTags);
  library.def(("matmul_allreduce.out" + operands + ", Tensor(a!) out) -> ()").c_str(), kTags);
  library.def(
      "matmul_allreduce.packed(Tensor x1, int packed_x2, str group, *, Tensor? bias=None, Tensor? "
      "x3=None, Tensor? dequant_scale=None, Tensor? pertoken_scale=None, Tensor? "
      "comm_quant_scale_1=None, Tensor? comm_quant_scale_2=None) -> Tensor",
      kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("matmul_allreduce", &make);
  library.impl("matmul_allreduce.out", &write);
  library.impl("matmul_allreduce.packed", &make_packed);
}

}  // namespace weft::python
