// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_collective/matmul_collective.h"
#include "ops/matmul_reduce_scatter/contract.h"

namespace weft {

struct internal::MatmulReduceScatterPlan {
  GroupState& group;
  MatmulReduceScatterArgs args;  ///< as planned; the data pointers in it are not used
  ops::MatmulCollective collective;
};

MatmulReduceScatter::MatmulReduceScatter(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MatmulReduceScatter::MatmulReduceScatter(MatmulReduceScatter&&) noexcept = default;
MatmulReduceScatter& MatmulReduceScatter::operator=(MatmulReduceScatter&&) noexcept = default;
MatmulReduceScatter::~MatmulReduceScatter() = default;

Result<MatmulReduceScatter> MatmulReduceScatter::plan(Context& context, Group& group,
                                                      const MatmulReduceScatterArgs& args,
                                                      const MatmulReduceScatterOptions& options) {
  bool empty = false;
  WEFT_RETURN_IF_ERROR(ops::check_plan(args, group.rank(), group.ranks(), empty));
  WEFT_ASSIGN_OR_RETURN(auto collective, ops::MatmulCollective::plan(
                                             context.state(), group.state(),
                                             {.op = ops::kMatmulReduceScatter,
                                              .collective = tile::Collective::kReduceScatter,
                                              .operands = ops::operands_of(args),
                                              .io = args.output.dtype(),
                                              .empty = empty,
                                              .super_block_rows = options.super_block_rows,
                                              .trace = options.trace},
                                             internal::CallHeader(ops::kMatmulReduceScatter)));
  return MatmulReduceScatter(
      std::make_unique<Plan>(Plan{group.state(), args, std::move(collective)}));
}

Status MatmulReduceScatter::run(const MatmulReduceScatterArgs& args) {
  Plan& plan = *plan_;
  WEFT_RETURN_IF_ERROR(plan.group.health());
  WEFT_RETURN_IF_ERROR(ops::check_run(plan.args, args, plan.group.rank()));
  if (plan.collective.empty()) return plan.collective.run_empty();
  const std::int64_t first = args.output.dim(0) * plan.group.rank();
  return plan.collective.run(ops::operands_of(args), {},
                             ops::StoreRows(plan.collective.wire(), args.output, first));
}

std::string MatmulReduceScatter::describe() const { return plan_->collective.describe(); }

Status matmul_reduce_scatter(Context& context, Group& group, const MatmulReduceScatterArgs& args,
                             const MatmulReduceScatterOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MatmulReduceScatter::plan(context, group, args, options));
  return plan.run(args);
}

}  // namespace weft
