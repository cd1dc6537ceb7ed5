// SPDX-License-Identifier: Apache-2.0
// What the operators around one product have in common as commands see them.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "operators/args.h"
#include "operators/operator.h"

namespace weft::tools {

/// `Op`, `Args`, `Options`: MatmulAllReduce, MatmulAllReduceArgs, MatmulAllReduceOptions.
template <typename Op, typename Args, typename Options>
class CollectiveOperator : public Operator {
 public:
  using Operator::Operator;

  Result<std::unique_ptr<PlannedCall>> plan(Context& context, Group& group,
                                            const Operands& operands, Trace* trace) const override {
    Options options;
    options.trace = trace;
    WEFT_ASSIGN_OR_RETURN(Op op, Op::plan(context, group, operands.args<Args>(), options));
    return std::unique_ptr<PlannedCall>(new Planned(std::move(op)));
  }

 protected:
  /// One row; fewer rows than ranks; slices of k of different width; 3-D; more than one tile; more
  /// than one super-block.
  static std::vector<std::string> collective_check_shapes() {
    return {"1x64:64x96", "5x33,64,47,8:33,64,47,8x40", "2x19x128:128x264", "67x256:256x512",
            "2053x48:48x264"};
  }
  static std::vector<Args> args_of(std::span<const Operands> ranks) {
    std::vector<Args> args;
    for (const Operands& operands : ranks) args.push_back(operands.args<Args>());
    return args;
  }
  /// x1 with n columns.
  static std::vector<std::int64_t> product_dims(const Operands& operands) {
    const ConstTensorRef &x1 = operands.tensor(OperandId::kX1),
                         &x2 = operands.tensor(OperandId::kX2);
    std::vector<std::int64_t> dims(x1.dims().begin(), x1.dims().end());
    if (!dims.empty() && x2.rank() > 0) dims.back() = x2.dim(x2.rank() - 1);
    return dims;
  }

 private:
  class Planned : public PlannedCall {
   public:
    explicit Planned(Op op) : op_(std::move(op)) {}
    Status run(const Operands& operands) override { return op_.run(operands.args<Args>()); }
    std::string describe() const override { return op_.describe(); }

   private:
    Op op_;
  };
};

}  // namespace weft::tools
