// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine_add_rmsnorm/plan.h"

#include <fmt/core.h>

#include "base/row_offsets.h"
#include "ops/dense.h"
#include "ops/moe_combine_add_rmsnorm/contract.h"

namespace weft {
namespace {

using Args = MoeCombineAddRmsNormArgs;

// x, y and rstd of a token, with this rank's residual and gamma.
class AddRmsNormTokens : public ops::CombineEpilogue {
 public:
  AddRmsNormTokens(const rows::Kernels& rows, const Args& args, const std::byte* gamma)
      : rows_(rows),
        args_(args),
        x_rows_(args.combine.x, args.combine.x.rank() - 1),
        y_rows_(args.y, args.y.rank() - 1),
        residual_rows_(args.residual_x, args.residual_x.rank() - 1),
        gamma_(gamma) {}

  void finish(const ops::TokenTerms& token) const override {
    const std::int64_t t = token.token;
    token.terms[token.count] = {
        static_cast<const std::byte*>(args_.residual_x.data()) + residual_rows_[t], 1.0f};
    rows::WeightedSumNormRow row{};
    row.terms = token.terms;
    row.count = token.count + 1;
    row.n = args_.gamma.dim(0);
    row.gamma = gamma_;
    row.epsilon = args_.norm_eps;
    row.x = static_cast<std::byte*>(args_.combine.x.data()) + x_rows_[t];
    row.y = static_cast<std::byte*>(args_.y.data()) + y_rows_[t];
    row.rstd = static_cast<float*>(args_.rstd.data()) + t;
    row.scratch = token.scratch;
    row.store = token.store;
    rows_.weighted_sum_norm_row(row);
  }

 private:
  const rows::Kernels& rows_;
  const Args& args_;
  RowOffsets x_rows_, y_rows_, residual_rows_;
  const std::byte* gamma_;
};

}  // namespace

MoeCombineAddRmsNorm::MoeCombineAddRmsNorm(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MoeCombineAddRmsNorm::MoeCombineAddRmsNorm(MoeCombineAddRmsNorm&&) noexcept = default;
MoeCombineAddRmsNorm& MoeCombineAddRmsNorm::operator=(MoeCombineAddRmsNorm&&) noexcept = default;
MoeCombineAddRmsNorm::~MoeCombineAddRmsNorm() = default;

Result<MoeCombineAddRmsNorm> MoeCombineAddRmsNorm::plan(
    Context& context, Group& group, const Args& args, const MoeCombineAddRmsNormOptions& options) {
  WEFT_RETURN_IF_ERROR(
      ops::check_plan(args, group.rank(), group.ranks(), options.tp_group != nullptr));
  internal::CallHeader header(ops::kMoeCombineAddRmsNorm);
  header.add("norm_eps", fmt::format("{}", args.norm_eps));
  WEFT_ASSIGN_OR_RETURN(auto combine, ops::Combine::plan(context, group, ops::kMoeCombineAddRmsNorm,
                                                         args.combine, options, header));
  WEFT_ASSIGN_OR_RETURN(Scratch gamma,
                        context.state().scratch.reserve(ScratchFor::kGamma, 2 * args.gamma.dim(0)));
  return MoeCombineAddRmsNorm(
      std::make_unique<Plan>(Plan{args, std::move(combine), std::move(gamma)}));
}

Status MoeCombineAddRmsNorm::run(const Args& args) {
  Plan& plan = *plan_;
  WEFT_RETURN_IF_ERROR(plan.combine.health());
  WEFT_RETURN_IF_ERROR(ops::check_run(plan.args, args, plan.combine.group().rank()));
  ops::copy_dense(args.gamma, plan.gamma.data());
  return plan.combine.run(args.combine,
                          AddRmsNormTokens(plan.combine.row_kernels(), args, plan.gamma.data()));
}

std::string MoeCombineAddRmsNorm::describe() const { return plan_->combine.describe(); }

Status moe_combine_add_rmsnorm(Context& context, Group& group, const Args& args,
                               const MoeCombineAddRmsNormOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MoeCombineAddRmsNorm::plan(context, group, args, options));
  return plan.run(args);
}

}  // namespace weft
