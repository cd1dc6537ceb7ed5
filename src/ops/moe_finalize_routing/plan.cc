// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_finalize_routing/plan.h"

#include <fmt/core.h>

#include "ops/row_work.h"

namespace weft {
namespace {

Status plan_inputs(internal::MoeFinalizeRoutingPlan& plan) {
  const MoeFinalizeRoutingArgs& a = plan.args;
  const auto adjacent = [](ops::RowInput& input, const ConstTensorRef& tensor, int leading,
                           const char* name) -> Status {
    WEFT_ASSIGN_OR_RETURN(input, ops::RowInput::plan(tensor, leading, name));
    return {};
  };
  WEFT_RETURN_IF_ERROR(
      adjacent(plan.expanded_x, a.expanded_x, a.expanded_x.rank() - 1, "expanded_x"));
  WEFT_RETURN_IF_ERROR(adjacent(plan.x1, a.x1, 1, "x1"));
  WEFT_RETURN_IF_ERROR(adjacent(plan.x2, a.x2, 1, "x2"));
  WEFT_RETURN_IF_ERROR(adjacent(plan.bias, a.bias, 1, "bias"));
  WEFT_RETURN_IF_ERROR(adjacent(plan.expanded_row_idx, a.expanded_row_idx, 0, "expanded_row_idx"));
  WEFT_RETURN_IF_ERROR(adjacent(plan.expert_idx, a.expert_idx, 0, "expert_idx"));
  return adjacent(plan.scales, a.scales, 0, "scales");
}

}  // namespace

MoeFinalizeRouting::MoeFinalizeRouting(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MoeFinalizeRouting::MoeFinalizeRouting(MoeFinalizeRouting&&) noexcept = default;
MoeFinalizeRouting& MoeFinalizeRouting::operator=(MoeFinalizeRouting&&) noexcept = default;
MoeFinalizeRouting::~MoeFinalizeRouting() = default;

Result<MoeFinalizeRouting> MoeFinalizeRouting::plan(Context& context,
                                                    const MoeFinalizeRoutingArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_plan(args));
  const DType type = args.expanded_x.dtype();
  auto plan = std::make_unique<Plan>(Plan{.context = context.state(),
                                          .args = args,
                                          .kernels = routing::select(type, context.state().isa),
                                          .shape = ops::shape_of(args),
                                          .expanded_x = {},
                                          .x1 = {},
                                          .x2 = {},
                                          .bias = {},
                                          .expanded_row_idx = {},
                                          .expert_idx = {},
                                          .scales = {},
                                          .out = ops::RowOutput(args.out, 1),
                                          .scratch = {}});
  if (!plan->has_work()) return MoeFinalizeRouting(std::move(plan));
  const ops::FinalizeShape& s = plan->shape;
  const std::int64_t row_bytes = bytes_of(type, s.h);
  plan->batch = ops::batch_of_rows(s.n, (s.k + 1) * row_bytes, context.threads());
  if (s.n * row_bytes > ops::kStreamBytesOfPasses) plan->store = rows::Store::kStream;
  WEFT_RETURN_IF_ERROR(plan_inputs(*plan));
  plan->pointer_bytes = round_up(s.k * static_cast<std::int64_t>(sizeof(void*)), kCacheLine);
  plan->thread_bytes =
      2 * plan->pointer_bytes + round_up(bytes_of(DType::kFloat32, s.k), kCacheLine);
  if (s.k > 0) {
    WEFT_ASSIGN_OR_RETURN(plan->scratch,
                          context.state().scratch.reserve(ScratchFor::kThreadRows,
                                                          plan->thread_bytes * context.threads()));
  }
  return MoeFinalizeRouting(std::move(plan));
}

Status MoeFinalizeRouting::run(const MoeFinalizeRoutingArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_run(plan_->args, args));
  return plan_->has_work() ? ops::run_rows(*plan_, args) : Status();
}

std::string MoeFinalizeRouting::describe() const {
  const Plan& p = *plan_;
  if (!p.has_work()) return "nothing to compute: there are no rows\n";
  return fmt::format(
      "shape     {} rows of {}, {} experts each, {}\nrows      {}\nthreads   {}, {} rows at a "
      "time\nstores    {}\n",
      p.shape.n, p.shape.h, p.shape.k, to_string(p.args.expanded_x.dtype()), p.kernels.name,
      p.context.pool.threads(), p.batch,
      p.store == rows::Store::kStream ? "past the cache" : "through the cache");
}

Status moe_finalize_routing(Context& context, const MoeFinalizeRoutingArgs& args) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MoeFinalizeRouting::plan(context, args));
  return plan.run(args);
}

}  // namespace weft
