// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_gating_topk_softmax/plan.h"

#include <fmt/core.h>

#include "ops/row_work.h"

namespace weft {

MoeGatingTopkSoftmax::MoeGatingTopkSoftmax(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MoeGatingTopkSoftmax::MoeGatingTopkSoftmax(MoeGatingTopkSoftmax&&) noexcept = default;
MoeGatingTopkSoftmax& MoeGatingTopkSoftmax::operator=(MoeGatingTopkSoftmax&&) noexcept = default;
MoeGatingTopkSoftmax::~MoeGatingTopkSoftmax() = default;

Result<MoeGatingTopkSoftmax> MoeGatingTopkSoftmax::plan(Context& context,
                                                        const MoeGatingTopkSoftmaxArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_plan(args));
  const int leading = ops::leading_axes(args), threads = context.threads();
  auto plan =
      std::make_unique<Plan>(Plan{.context = context.state(),
                                  .args = args,
                                  .kernels = routing::select(args.x.dtype(), context.state().isa),
                                  .x = {},
                                  .finished = {},
                                  .y = ops::RowOutput(args.y, leading),
                                  .expert_idx = ops::RowOutput(args.expert_idx, leading),
                                  .row_idx = ops::RowOutput(args.row_idx, leading),
                                  .scratch = {}});
  plan->experts = args.x.dim(leading);
  plan->tokens = 1;
  for (int i = 0; i < leading; ++i) plan->tokens *= args.x.dim(i);
  if (!plan->has_work()) return MoeGatingTopkSoftmax(std::move(plan));
  plan->batch = ops::batch_of_rows(plan->tokens, 4 * plan->experts, threads);
  plan->p_bytes = bytes_of(DType::kFloat32, round_up(plan->experts, 32));
  plan->thread_bytes =
      plan->p_bytes +
      round_up(args.k * static_cast<std::int64_t>(sizeof(std::uint64_t)), kCacheLine);
  WEFT_ASSIGN_OR_RETURN(plan->x, ops::RowInput::plan(args.x, leading, "x with adjacent rows"));
  WEFT_ASSIGN_OR_RETURN(plan->finished, ops::RowInput::plan(args.finished, leading, "finished"));
  WEFT_ASSIGN_OR_RETURN(plan->scratch, context.state().scratch.reserve(
                                           ScratchFor::kThreadRows, plan->thread_bytes * threads));
  return MoeGatingTopkSoftmax(std::move(plan));
}

Status MoeGatingTopkSoftmax::run(const MoeGatingTopkSoftmaxArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_run(plan_->args, args));
  if (plan_->has_work()) ops::run_rows(*plan_, args);
  return {};
}

std::string MoeGatingTopkSoftmax::describe() const {
  const Plan& p = *plan_;
  if (!p.has_work()) return "nothing to compute: there are no rows\n";
  return fmt::format(
      "shape     {} rows of {} experts, the best {}, {}\nrows      {}\nthreads   {}, {} rows at a "
      "time\n",
      p.tokens, p.experts, p.args.k, to_string(p.args.x.dtype()), p.kernels.name,
      p.context.pool.threads(), p.batch);
}

Status moe_gating_topk_softmax(Context& context, const MoeGatingTopkSoftmaxArgs& args) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MoeGatingTopkSoftmax::plan(context, args));
  return plan.run(args);
}

}  // namespace weft
