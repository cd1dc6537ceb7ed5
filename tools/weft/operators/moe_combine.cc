// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "operators/moe_operator.h"
#include "ops/moe_combine/reference.h"

namespace weft::tools {

template <>
MoeCombineArgs Operands::args() const {
  return {.expand_x = tensor(OperandId::kExpandX),
          .expert_ids = tensor(OperandId::kExpertIds),
          .assist_info_for_combine = tensor(OperandId::kAssistInfoForCombine),
          .ep_send_counts = tensor(OperandId::kEpSendCounts),
          .expert_scales = tensor(OperandId::kExpertScales),
          .x_active_mask = tensor(OperandId::kXActiveMask),
          .shared_expert_x = tensor(OperandId::kSharedExpertX),
          .ori_x = tensor(OperandId::kOriX),
          .const_expert_alpha_1 = tensor(OperandId::kConstExpertAlpha1),
          .const_expert_alpha_2 = tensor(OperandId::kConstExpertAlpha2),
          .const_expert_v = tensor(OperandId::kConstExpertV),
          .experts = moe.experts,
          .int8_communication = moe.int8_communication,
          .x = output(0)};
}

namespace {

using Args = MoeCombineArgs;

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16;
constexpr DTypeRow kRows[] = {
    // of all that is not int32 or float32
    {"C16", kF16, kF16, kF16, kF16, kF16},
    {"CB", kBf16, kBf16, kBf16, kBf16, kBf16},
};

class Tool : public MoeCombineOperator<MoeCombine, Args, MoeCombineOptions> {
 public:
  Tool()
      : MoeCombineOperator({.name = "moe_combine",
                            .formula = "x = sum over a token's experts of expert_scales expand_x, "
                                       "the rows back from where dispatch sent them",
                            .required = combine_required(),
                            .optional = combine_optional(),
                            .outputs = {{.name = "x"}},
                            .rows = kRows,
                            .products = false,
                            .matmul = false}) {}

  double bytes_moved(const Operands& operands, int) const override {
    return bytes_of_combine(operands, 1);
  }

  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    const Operands& own = ranks[static_cast<std::size_t>(rank)];
    if (ops::reference_active(own.args<Args>(), row))
      return ops::check_row(args_of(ranks), rank, row);
    ops::RowError error;
    if (!is_zero_row(own.output(0), row, own.output(0).dim(0)))
      error.add(std::numeric_limits<double>::infinity(), "x of a token that is not active");
    return error;
  }

 protected:
  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int) const override {
    return {{nullptr, operands.io, token_dims(operands)}};
  }
};

}  // namespace

const Operator& moe_combine_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
