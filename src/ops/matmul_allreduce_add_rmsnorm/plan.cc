// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce_add_rmsnorm/plan.h"

#include <fmt/core.h>

#include "ops/dense.h"

namespace weft {
namespace {

using ops::operands_of;
using Args = MatmulAllReduceAddRmsNormArgs;

// y and norm_out of a row, with this rank's residual and gamma.
class AddRmsNormRows : public ops::Epilogue {
 public:
  AddRmsNormRows(const ops::MatmulCollective& collective, const Args& args, const std::byte* gamma)
      : rows_(collective.local().row_kernels()),
        n_(collective.local().n()),
        residual_(args.residual),
        y_(args.y),
        norm_out_(args.norm_out),
        gamma_(gamma),
        epsilon_(static_cast<float>(args.epsilon)) {}

  void finish(const ops::SummedRow& row) const override {
    rows::AddRmsNormRow args{};
    args.n = n_;
    if (row.arrived.is_sum)
      args.m = row.arrived.parts[0];
    else
      args.partials = {row.arrived.parts, row.arrived.count, row.arrived.published};
    args.residual = residual_[row.row];
    args.gamma = gamma_;
    args.epsilon = epsilon_;
    args.y = y_[row.row];
    args.out = norm_out_[row.row];
    args.scratch = row.arrived.scratch;
    args.store = row.store;
    args.ahead = row.ahead;
    args.ahead_count = row.ahead_count;
    rows_.add_rmsnorm_row(args);
  }
  const void* reads(std::int64_t row) const override { return residual_[row]; }

 private:
  const rows::Kernels& rows_;
  std::int64_t n_;
  ops::RowView<const std::byte> residual_;
  ops::RowView<std::byte> y_, norm_out_;
  const std::byte* gamma_;
  float epsilon_;
};

}  // namespace

MatmulAllReduceAddRmsNorm::MatmulAllReduceAddRmsNorm(std::unique_ptr<Plan> plan)
    : plan_(std::move(plan)) {}
MatmulAllReduceAddRmsNorm::MatmulAllReduceAddRmsNorm(MatmulAllReduceAddRmsNorm&&) noexcept =
    default;
MatmulAllReduceAddRmsNorm& MatmulAllReduceAddRmsNorm::operator=(
    MatmulAllReduceAddRmsNorm&&) noexcept = default;
MatmulAllReduceAddRmsNorm::~MatmulAllReduceAddRmsNorm() = default;

Result<MatmulAllReduceAddRmsNorm> MatmulAllReduceAddRmsNorm::plan(
    Context& context, Group& group, const Args& args,
    const MatmulAllReduceAddRmsNormOptions& options) {
  bool empty = false;
  WEFT_RETURN_IF_ERROR(ops::check_plan(args, group.rank(), empty));
  internal::CallHeader header(ops::kMatmulAllReduceAddRmsNorm);
  header.add("epsilon", fmt::format("{}", args.epsilon));
  WEFT_ASSIGN_OR_RETURN(auto collective,
                        ops::MatmulCollective::plan(context.state(), group.state(),
                                                    {.op = ops::kMatmulAllReduceAddRmsNorm,
                                                     .collective = tile::Collective::kAllReduce,
                                                     .operands = operands_of(args),
                                                     .io = args.residual.dtype(),
                                                     .empty = empty,
                                                     .super_block_rows = options.super_block_rows,
                                                     .trace = options.trace},
                                                    header));
  Scratch gamma;
  if (!empty) {
    WEFT_ASSIGN_OR_RETURN(
        gamma, context.state().scratch.reserve(ScratchFor::kGamma, 2 * args.gamma.dim(0)));
  }
  return MatmulAllReduceAddRmsNorm(
      std::make_unique<Plan>(Plan{group.state(), args, std::move(collective), std::move(gamma)}));
}

Status MatmulAllReduceAddRmsNorm::run(const Args& args) {
  Plan& plan = *plan_;
  WEFT_RETURN_IF_ERROR(plan.group.health());
  WEFT_RETURN_IF_ERROR(ops::check_run(plan.args, args, plan.group.rank()));
  if (plan.collective.empty()) return plan.collective.run_empty();
  ops::copy_dense(args.gamma, plan.gamma.data());
  return plan.collective.run(operands_of(args), {},
                             AddRmsNormRows(plan.collective, args, plan.gamma.data()));
}

std::string MatmulAllReduceAddRmsNorm::describe() const { return plan_->collective.describe(); }

Status matmul_allreduce_add_rmsnorm(Context& context, Group& group, const Args& args,
                                    const MatmulAllReduceAddRmsNormOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MatmulAllReduceAddRmsNorm::plan(context, group, args, options));
  return plan.run(args);
}

}  // namespace weft
