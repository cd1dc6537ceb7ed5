// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine/plan.h"

#include "base/row_offsets.h"

namespace weft {
namespace {

using Args = MoeCombineArgs;

class StoreTokens : public ops::CombineEpilogue {
 public:
  StoreTokens(const rows::Kernels& rows, const TensorRef& x)
      : rows_(rows),
        x_(static_cast<std::byte*>(x.data())),
        offsets_(x, x.rank() - 1),
        n_(x.dim(x.rank() - 1)) {}

  void finish(const ops::TokenTerms& token) const override {
    rows_.weighted_sum_row({token.terms, token.count, n_, x_ + offsets_[token.token], token.store});
  }

 private:
  const rows::Kernels& rows_;
  std::byte* x_;
  RowOffsets offsets_;
  std::int64_t n_;
};

}  // namespace

MoeCombine::MoeCombine(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MoeCombine::MoeCombine(MoeCombine&&) noexcept = default;
MoeCombine& MoeCombine::operator=(MoeCombine&&) noexcept = default;
MoeCombine::~MoeCombine() = default;

Result<MoeCombine> MoeCombine::plan(Context& context, Group& group, const Args& args,
                                    const MoeCombineOptions& options) {
  WEFT_RETURN_IF_ERROR(
      ops::check_plan(args, group.rank(), group.ranks(), options.tp_group != nullptr));
  WEFT_ASSIGN_OR_RETURN(auto combine,
                        ops::Combine::plan(context, group, ops::kMoeCombine, args, options,
                                           internal::CallHeader(ops::kMoeCombine)));
  return MoeCombine(std::make_unique<Plan>(Plan{std::move(combine)}));
}

Status MoeCombine::run(const Args& args) {
  Plan& plan = *plan_;
  WEFT_RETURN_IF_ERROR(plan.combine.health());
  WEFT_RETURN_IF_ERROR(ops::check_run(plan.combine.planned(), args, plan.combine.group().rank()));
  return plan.combine.run(args, StoreTokens(plan.combine.row_kernels(), args.x));
}

std::string MoeCombine::describe() const { return plan_->combine.describe(); }

Status moe_combine(Context& context, Group& group, const Args& args,
                   const MoeCombineOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MoeCombine::plan(context, group, args, options));
  return plan.run(args);
}

}  // namespace weft
