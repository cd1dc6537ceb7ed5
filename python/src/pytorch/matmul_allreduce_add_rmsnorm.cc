// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/packed_weight.h"
#include "pytorch/tensors.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;

// All operands but the weight and its scales, which the forms of the operator give.
MatmulAllReduceAddRmsNormArgs operands(const at::Tensor& x1, const at::Tensor& residual,
                                       const at::Tensor& gamma, double epsilon,
                                       const Optional& bias, const Optional& dequant_scale,
                                       const at::Tensor& y, const at::Tensor& norm_out) {
  return {.x1 = input("x1", x1),
          .bias = input("bias", bias),
          .dequant_scale = input("dequant_scale", dequant_scale),
          .residual = with_batch(input("residual", residual)),
          .gamma = input("gamma", gamma),
          .epsilon = epsilon,
          .y = with_batch(output(y)),
          .norm_out = with_batch(output(norm_out))};
}

void call(std::string_view group, const MatmulAllReduceAddRmsNormArgs& args) {
  run(group, [&](Context& context, Group& ranks) {
    return matmul_allreduce_add_rmsnorm(context, ranks, args);
  });
}

void write(const at::Tensor& x1, const at::Tensor& x2, const at::Tensor& residual,
           const at::Tensor& gamma, std::string_view group, double epsilon, const Optional& bias,
           const Optional& dequant_scale, const Optional& antiquant_scale,
           const Optional& antiquant_offset, std::int64_t antiquant_group_size, at::Tensor& y,
           at::Tensor& norm_out) {
  MatmulAllReduceAddRmsNormArgs args =
      operands(x1, residual, gamma, epsilon, bias, dequant_scale, y, norm_out);
  args.x2 = weight("x2", x2);
  args.antiquant_scale = input("antiquant_scale", antiquant_scale);
  args.antiquant_offset = input("antiquant_offset", antiquant_offset);
  args.antiquant_group_size = antiquant_group_size;
  call(group, args);
}

at::Tensor like_residual(const at::Tensor& x1, const at::Tensor& residual, const Optional& scale) {
  return at::empty(residual.sizes(), x1.options().dtype(result_dtype(x1, scale)));
}

std::tuple<at::Tensor, at::Tensor> make(const at::Tensor& x1, const at::Tensor& x2,
                                        const at::Tensor& residual, const at::Tensor& gamma,
                                        std::string_view group, double epsilon,
                                        const Optional& bias, const Optional& dequant_scale,
                                        const Optional& antiquant_scale,
                                        const Optional& antiquant_offset,
                                        std::int64_t antiquant_group_size) {
  at::Tensor y = like_residual(x1, residual, dequant_scale);
  at::Tensor norm_out = like_residual(x1, residual, dequant_scale);
  write(x1, x2, residual, gamma, group, epsilon, bias, dequant_scale, antiquant_scale,
        antiquant_offset, antiquant_group_size, y, norm_out);
  return {y, norm_out};
}

std::tuple<at::Tensor, at::Tensor> make_packed(const at::Tensor& x1, std::int64_t packed_x2,
                                               const at::Tensor& residual, const at::Tensor& gamma,
                                               std::string_view group, double epsilon,
                                               const Optional& bias,
                                               const Optional& dequant_scale) {
  const auto packed = packed_weight("packed_x2", packed_x2);
  at::Tensor y = like_residual(x1, residual, dequant_scale);
  at::Tensor norm_out = like_residual(x1, residual, dequant_scale);
  MatmulAllReduceAddRmsNormArgs args =
      operands(x1, residual, gamma, epsilon, bias, dequant_scale, y, norm_out);
  args.packed_x2 = packed.get();
  call(group, args);
  return {y, norm_out};
}

at::Tensor in_place(const at::Tensor& x1, const at::Tensor& x2, at::Tensor& residual,
                    const at::Tensor& gamma, std::string_view group, double epsilon,
                    const Optional& bias, const Optional& dequant_scale,
                    const Optional& antiquant_scale, const Optional& antiquant_offset,
                    std::int64_t antiquant_group_size) {
  at::Tensor norm_out = like_residual(x1, residual, dequant_scale);
  write(x1, x2, residual, gamma, group, epsilon, bias, dequant_scale, antiquant_scale,
        antiquant_offset, antiquant_group_size, residual, norm_out);
  return norm_out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  const std::string name = "matmul_allreduce_add_rmsnorm", products = "(Tensor x1, Tensor x2, ",
                    rest =
                        " residual, Tensor gamma, str group, *, float epsilon=1e-06, "
                        "Tensor? bias=None, Tensor? dequant_scale=None, "
                        "Tensor? antiquant_scale=None, Tensor? antiquant_offset=None, "
                        "int antiquant_group_size=0";
  library.def((name + products + "Tensor" + rest + ") -> (Tensor y, Tensor norm_out)").c_str(),
              kTags);
  library.def((name + "_" + products + "Tensor(a!)" + rest + ") -> Tensor norm_out").c_str(),
              kTags);
  library.def(
      (name + ".out" + products + "Tensor" + rest + ", Tensor(a!) y, Tensor(b!) norm_out) -> ()")
          .c_str(),
      kTags);
  library.def(
      "matmul_allreduce_add_rmsnorm.packed(Tensor x1, int packed_x2, Tensor residual, Tensor "
      "gamma, str group, *, float epsilon=1e-06, Tensor? bias=None, Tensor? dequant_scale=None) "
      "-> (Tensor y, Tensor norm_out)",
      kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("matmul_allreduce_add_rmsnorm", &make);
  library.impl("matmul_allreduce_add_rmsnorm_", &in_place);
  library.impl("matmul_allreduce_add_rmsnorm.out", &write);
  library.impl("matmul_allreduce_add_rmsnorm.packed", &make_packed);
}

}  // namespace weft::python
