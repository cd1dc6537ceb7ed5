// SPDX-License-Identifier: Apache-2.0
#include "ops/add_rmsnorm/plan.h"

#include <fmt/core.h>

#include <algorithm>

namespace weft {
namespace {

// Outputs of more than this go past the cache. Where they are cold, stores that pass by take two
// thirds of the time at any size, because they do not first fetch the lines they replace; where
// they are warm and read again at once, plain stores take three quarters. Results of this size, a
// decode step's, can stay warm in an L2 from call to call.
constexpr std::int64_t kStreamBytes = 1 << 20;

// A thread takes at least this much at a time (bytes read and written), so that taking it costs
// nothing beside the work and a small call stays on its thread, and at most this many rows, so that
// the threads end together.
constexpr std::int64_t kLeastBatchBytes = 64 << 10, kMostBatchRows = 16;

std::int64_t choose_batch(std::int64_t rows, std::int64_t row_bytes, int threads) {
  const std::int64_t least = ceil_div(kLeastBatchBytes, 4 * row_bytes);
  return std::max(least, std::min(rows / (8 * threads), kMostBatchRows));
}

}  // namespace

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
  auto plan = std::make_unique<Plan>(Plan{
      .context = context.state(),
      .args = args,
      .kernels = rows::select(type, context.state().isa),
      .rows = rows,
      .n = n,
      .batch = choose_batch(rows, row_bytes, threads),
      .store = 2 * rows * row_bytes > kStreamBytes ? rows::Store::kStream : rows::Store::kPlain,
      .x1 = RowOffsets(args.x1, leading),
      .x2 = RowOffsets(args.x2, leading),
      .y = RowOffsets(args.y, leading),
      .rstd = args.rstd.given() ? RowOffsets(args.rstd, leading) : RowOffsets(),
      .x = RowOffsets(args.x, leading),
      .scratch = {},
      .scratch_row_bytes = round_up(bytes_of(type, round_up(n, 32)), kCacheLine),
      .gamma = {}});
  if (rows == 0) return AddRmsNorm(std::move(plan));
  WEFT_ASSIGN_OR_RETURN(plan->scratch,
                        Buffer::allocate(plan->scratch_row_bytes * threads, "rows of x"));
  if (!args.gamma.dense()) {
    WEFT_ASSIGN_OR_RETURN(plan->gamma, Buffer::allocate(row_bytes, "gamma"));
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
