// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_init_routing/plan.h"

#include <fmt/core.h>

#include "ops/moe_routing/stable_sort.h"
#include "ops/row_work.h"

namespace weft {

MoeInitRouting::MoeInitRouting(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MoeInitRouting::MoeInitRouting(MoeInitRouting&&) noexcept = default;
MoeInitRouting& MoeInitRouting::operator=(MoeInitRouting&&) noexcept = default;
MoeInitRouting::~MoeInitRouting() = default;

Result<MoeInitRouting> MoeInitRouting::plan(Context& context, const MoeInitRoutingArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_plan(args));
  auto plan = std::make_unique<Plan>(Plan{.context = context.state(),
                                          .args = args,
                                          .n = args.x.dim(0),
                                          .pairs = args.expert_idx.elements(),
                                          .rows = args.expanded_x.dim(0),
                                          .row_bytes = bytes_of(args.x.dtype(), args.x.dim(1)),
                                          .x = {},
                                          .row_idx = {},
                                          .expert_idx = {},
                                          .expanded_x = ops::RowOutput(args.expanded_x, 1),
                                          .scratch = {}});
  if (plan->pairs == 0) return MoeInitRouting(std::move(plan));
  plan->batch = ops::batch_of_rows(plan->rows, 2 * plan->row_bytes, context.threads());
  WEFT_ASSIGN_OR_RETURN(plan->x, ops::RowInput::plan(args.x, 1, "x with adjacent rows"));
  WEFT_ASSIGN_OR_RETURN(plan->row_idx, ops::RowInput::plan(args.row_idx, 0, "row_idx"));
  WEFT_ASSIGN_OR_RETURN(plan->expert_idx, ops::RowInput::plan(args.expert_idx, 0, "expert_idx"));
  const auto pair_bytes = static_cast<std::int64_t>(sizeof(ops::IdAndPayload));
  WEFT_ASSIGN_OR_RETURN(plan->scratch, context.state().scratch.reserve(
                                           ScratchFor::kIds, 2 * plan->pairs * pair_bytes));
  return MoeInitRouting(std::move(plan));
}

Status MoeInitRouting::run(const MoeInitRoutingArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_run(plan_->args, args));
  return plan_->pairs > 0 ? ops::run_routing(*plan_, args) : Status();
}

std::string MoeInitRouting::describe() const {
  const Plan& p = *plan_;
  if (p.pairs == 0) return "nothing to compute: there are no rows\n";
  return fmt::format(
      "shape     {} rows of {}, {} experts each, {}\ncopied    {} rows of {} bytes\nthreads   {}, "
      "{} rows at a time\n",
      p.n, p.args.x.dim(1), p.args.expert_idx.dim(1), to_string(p.args.x.dtype()), p.rows,
      p.row_bytes, p.context.pool.threads(), p.batch);
}

Status moe_init_routing(Context& context, const MoeInitRoutingArgs& args) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MoeInitRouting::plan(context, args));
  return plan.run(args);
}

}  // namespace weft
