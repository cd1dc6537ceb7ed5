// SPDX-License-Identifier: Apache-2.0
#include "ops/add_rmsnorm/plan.h"

#include <fmt/core.h>

#include <algorithm>

#include "ops/row_work.h"

namespace weft {

AddRmsNorm::AddRmsNorm(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
AddRmsNorm::AddRmsNorm(AddRmsNorm&&) noexcept = default;
AddRmsNorm& AddRmsNorm::operator=(AddRmsNorm&&) noexcept = default;
AddRmsNorm::~AddRmsNorm() = default;

Result<AddRmsNorm> AddRmsNorm::plan(Context& context, const AddRmsNormArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_plan(args));
  const int leading = ops::leading_axes(args), threads = context.threads();
  const DType type = args.x1.dtype();
  const std::int64_t n = args.gamma.elements(), rows = args.x1.elements() / n;
  const std::int64_t row_bytes = bytes_of(type, n);
  auto plan = std::make_unique<Plan>(
      Plan{.context = context.state(),
           .args = args,
           .kernels = rows::select(type, context.state().isa),
           .rows = rows,
           .n = n,
           .batch = ops::batch_of_rows(rows, 4 * row_bytes, threads),
           .store = 2 * rows * row_bytes > ops::kStreamBytesOfPasses ? rows::Store::kStream
                                                                     : rows::Store::kPlain,
           .x1 = RowOffsets(args.x1, leading),
           .x2 = RowOffsets(args.x2, leading),
           .y = RowOffsets(args.y, leading),
           .rstd = args.rstd.given() ? RowOffsets(args.rstd, leading) : RowOffsets(),
           .x = RowOffsets(args.x, leading),
           .scratch = {},
           .scratch_row_bytes = round_up(bytes_of(type, round_up(n, 32)), kCacheLine),
           .gamma = {}});
  if (rows == 0) return AddRmsNorm(std::move(plan));
  WEFT_ASSIGN_OR_RETURN(
      plan->scratch,
      context.state().scratch.reserve(ScratchFor::kThreadRows, plan->scratch_row_bytes * threads));
  if (!args.gamma.dense()) {
    WEFT_ASSIGN_OR_RETURN(plan->gamma,
                          context.state().scratch.reserve(ScratchFor::kGamma, row_bytes));
  }
  return AddRmsNorm(std::move(plan));
}

Status AddRmsNorm::run(const AddRmsNormArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_run(plan_->args, args));
  if (plan_->rows > 0) ops::run_rows(*plan_, args);
  return {};
}

std::string AddRmsNorm::describe() const {
  const Plan& p = *plan_;
  if (p.rows == 0) return "nothing to compute: there are no rows\n";
  return fmt::format(
      "shape     {} rows of {}, {}\nrows      {}\nthreads   {}, {} rows at a time\nstores    {}\n",
      p.rows, p.n, to_string(p.args.x1.dtype()), p.kernels.name, p.context.pool.threads(), p.batch,
      p.store == rows::Store::kStream ? "past the cache" : "through the cache");
}

Status add_rmsnorm(Context& context, const AddRmsNormArgs& args) {
  WEFT_ASSIGN_OR_RETURN(auto plan, AddRmsNorm::plan(context, args));
  return plan.run(args);
}

}  // namespace weft
