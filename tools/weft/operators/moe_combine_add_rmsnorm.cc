// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "operators/moe_operator.h"
#include "ops/moe_combine/reference.h"
#include "ops/moe_combine_add_rmsnorm/reference.h"

namespace weft::tools {

template <>
MoeCombineAddRmsNormArgs Operands::args() const {
  MoeCombineAddRmsNormArgs made{.combine = args<MoeCombineArgs>(),
                                .residual_x = tensor(OperandId::kResidualX),
                                .gamma = tensor(OperandId::kGamma),
                                .norm_eps = static_cast<float>(epsilon),
                                .y = output(0),
                                .rstd = output(1)};
  made.combine.x = output(2);
  return made;
}

namespace {

using Args = MoeCombineAddRmsNormArgs;

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16;
constexpr DTypeRow kRows[] = {
    // of all that is not int32 or float32
    {"CN16", kF16, kF16, kF16, kF16, kF16},
    {"CNB", kBf16, kBf16, kBf16, kBf16, kBf16},
};

std::vector<OperandId> required() {
  std::vector<OperandId> ids = combine_required();
  ids.insert(ids.end(), {OperandId::kResidualX, OperandId::kGamma});
  return ids;
}

class Tool : public MoeCombineOperator<MoeCombineAddRmsNorm, Args, MoeCombineAddRmsNormOptions> {
 public:
  Tool()
      : MoeCombineOperator({.name = "moe_combine_add_rmsnorm",
                            .formula = "x = moe_combine + residual_x; y = rmsnorm(x) gamma",
                            .required = required(),
                            .optional = combine_optional(),
                            .outputs = {{.name = "y"},
                                        {.name = "rstd"},
                                        {.name = "x", .in_place = OperandId::kResidualX}},
                            .rows = kRows,
                            .products = false,
                            .matmul = false}) {}

  double bytes_moved(const Operands& operands, int) const override {
    return bytes_of_combine(operands, 3);  // the residual, x and y
  }

  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    const Operands& own = ranks[static_cast<std::size_t>(rank)];
    if (ops::reference_active(own.args<Args>().combine, row))
      return ops::check_row(args_of(ranks), rank, row);
    ops::RowError error;
    for (int i = 0; i < own.outputs(); ++i)
      if (!is_zero_row(own.output(i), row, own.output(i).dim(0)))
        error.add(std::numeric_limits<double>::infinity(), "a row of a token that is not active");
    return error;
  }

 protected:
  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int) const override {
    const ConstTensorRef& residual = operands.tensor(OperandId::kResidualX);
    std::vector<std::int64_t> rstd(residual.dims().begin(), residual.dims().end());
    if (rstd.size() == 2)
      rstd.pop_back();
    else if (!rstd.empty())
      rstd.back() = 1;
    return {residual, {nullptr, DType::kFloat32, rstd}, residual};
  }
};

}  // namespace

const Operator& moe_combine_add_rmsnorm_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
