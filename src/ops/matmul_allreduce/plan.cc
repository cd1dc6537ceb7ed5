// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce/contract.h"
#include "ops/matmul_collective/matmul_collective.h"

namespace weft {

struct internal::MatmulAllReducePlan {
  GroupState& group;
  MatmulAllReduceArgs args;  ///< as planned; the data pointers in it are not used
  ops::MatmulCollective collective;
};

MatmulAllReduce::MatmulAllReduce(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MatmulAllReduce::MatmulAllReduce(MatmulAllReduce&&) noexcept = default;
MatmulAllReduce& MatmulAllReduce::operator=(MatmulAllReduce&&) noexcept = default;
MatmulAllReduce::~MatmulAllReduce() = default;

Result<MatmulAllReduce> MatmulAllReduce::plan(Context& context, Group& group,
                                              const MatmulAllReduceArgs& args,
                                              const MatmulAllReduceOptions& options) {
  WEFT_RETURN_IF_ERROR(ops::check_plan(args, group.rank()));
  WEFT_ASSIGN_OR_RETURN(auto collective,
                        ops::MatmulCollective::plan(context.state(), group.state(),
                                                    {.op = ops::kMatmulAllReduce,
                                                     .collective = tile::Collective::kAllReduce,
                                                     .operands = ops::operands_of(args),
                                                     .comm_scales = ops::comm_scales_of(args),
                                                     .io = args.output.dtype(),
                                                     .super_block_rows = options.super_block_rows,
                                                     .trace = options.trace},
                                                    internal::CallHeader(ops::kMatmulAllReduce)));
  return MatmulAllReduce(std::make_unique<Plan>(Plan{group.state(), args, std::move(collective)}));
}

Status MatmulAllReduce::run(const MatmulAllReduceArgs& args) {
  Plan& plan = *plan_;
  WEFT_RETURN_IF_ERROR(plan.group.health());
  WEFT_RETURN_IF_ERROR(ops::check_run(plan.args, args, plan.group.rank()));
  return plan.collective.run(ops::operands_of(args), ops::comm_scales_of(args),
                             ops::StoreRows(plan.collective.wire(), args.output, 0));
}

std::string MatmulAllReduce::describe() const { return plan_->collective.describe(); }

Status matmul_allreduce(Context& context, Group& group, const MatmulAllReduceArgs& args,
                        const MatmulAllReduceOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MatmulAllReduce::plan(context, group, args, options));
  return plan.run(args);
}

}  // namespace weft
