// SPDX-License-Identifier: Apache-2.0
#include "operator_call.h"

#include <utility>

namespace weft::testing {
namespace {

/// x2 packed, where the case wants that; else null.
Result<std::unique_ptr<PackedWeight>> pack(Context& context, const OperatorCase& c,
                                           const RankData& data) {
  if (c.layout.weight != WeightForm::kPacked) return std::unique_ptr<PackedWeight>();
  WEFT_ASSIGN_OR_RETURN(PackedWeight weight,
                        PackedWeight::pack(context, data[OperandId::kX2].view()));
  return std::make_unique<PackedWeight>(std::move(weight));
}

template <typename Args>
Args args_with(const RankData& data, const PackedWeight* weight) {
  Args args = data.args<Args>();
  if (weight) args.x2 = {};
  args.packed_x2 = weight;
  return args;
}

template <typename Args>
class Planned : public PlannedCall {
 public:
  using Op = typename Family<Args>::Op;
  Planned(std::unique_ptr<PackedWeight> weight, Op op)
      : weight_(std::move(weight)), op_(std::move(op)) {}
  Status run(const RankData& data) override {
    return op_.run(args_with<Args>(data, weight_.get()));
  }
  std::string describe() const override { return op_.describe(); }

 private:
  std::unique_ptr<PackedWeight> weight_;
  Op op_;
};

}  // namespace

Result<std::unique_ptr<PlannedCall>> plan(Context& context, Group& group, const OperatorCase& c,
                                          const RankData& data) {
  WEFT_ASSIGN_OR_RETURN(auto weight, pack(context, c, data));
  return with_args_of(c.op(), [&](auto empty) -> Result<std::unique_ptr<PlannedCall>> {
    using Args = decltype(empty);
    WEFT_ASSIGN_OR_RETURN(
        auto op, Family<Args>::Op::plan(context, group, args_with<Args>(data, weight.get()),
                                        {.super_block_rows = c.super_block_rows}));
    return std::unique_ptr<PlannedCall>(new Planned<Args>(std::move(weight), std::move(op)));
  });
}

Status call(Context& context, Group& group, const OperatorCase& c, const RankData& data) {
  WEFT_ASSIGN_OR_RETURN(auto weight, pack(context, c, data));
  return with_args_of(c.op(), [&](auto empty) {
    using Args = decltype(empty);
    return Family<Args>::kCall(context, group, args_with<Args>(data, weight.get()),
                               {.super_block_rows = c.super_block_rows});
  });
}

}  // namespace weft::testing
