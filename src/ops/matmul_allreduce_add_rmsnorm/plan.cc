// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce_add_rmsnorm/plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace weft {
namespace {

using internal::GroupState;
using ops::operands_of;

// Rows of a super-block. Every super-block packs x2 once more, so it must be long enough to make
// that cheap: packing costs about as much as multiplying this many rows with the fastest kernels.
// See docs/measurements/matmul_allreduce_add_rmsnorm.md.
constexpr std::int64_t kSuperBlockRows = 2048;

// Up to this many bytes of partial sums per rank, adding everything everywhere is faster than owner
// and broadcast: it saves one hand-off.
constexpr std::int64_t kOneShotBytes = 512 << 10;

tile::Pattern choose_pattern(std::int64_t partial_bytes, std::int64_t m, const GroupState& group) {
  static_assert(kOneShotBytes <= tile::Layout::kOneShotBytes);
  // One-shot calls have a fixed part of the window; what does not fit there goes through the ring.
  if (partial_bytes > tile::Layout::kOneShotBytes ||
      group.window_bytes() < 2 * tile::Layout::kOneShotBytes)
    return tile::Pattern::kTwoShot;
  if (partial_bytes * (group.ranks() - 1) <= kOneShotBytes) return tile::Pattern::kOneShot;
  // Fewer rows than ranks: most ranks would own nothing.
  return m < group.ranks() ? tile::Pattern::kOneShot : tile::Pattern::kTwoShot;
}

internal::CallHeader make_header(const MatmulAllReduceAddRmsNormArgs& args,
                                 const tile::Layout& layout) {
  const ops::MatmulOperands operands = operands_of(args);
  internal::CallHeader header(ops::kMatmulAllReduceAddRmsNorm);
  header.add("m", ops::rows_of(args.x1))
      .add("n", operands.weight_n())
      .add("x1 dtype", to_string(args.x1.dtype()))
      .add("x2 dtype", to_string(operands.weight_dtype()))
      .add("residual dtype", to_string(args.residual.dtype()))
      .add("epsilon", fmt::format("{}", args.epsilon))
      .add("super-block rows", layout.grid.max_super_block_rows())
      .add("pattern", layout.pattern == tile::Pattern::kOneShot ? "one shot" : "two shots");
  return header;
}

}  // namespace

MatmulAllReduceAddRmsNorm::MatmulAllReduceAddRmsNorm(std::unique_ptr<Plan> plan)
    : plan_(std::move(plan)) {}
MatmulAllReduceAddRmsNorm::MatmulAllReduceAddRmsNorm(MatmulAllReduceAddRmsNorm&&) noexcept =
    default;
MatmulAllReduceAddRmsNorm& MatmulAllReduceAddRmsNorm::operator=(
    MatmulAllReduceAddRmsNorm&&) noexcept = default;
MatmulAllReduceAddRmsNorm::~MatmulAllReduceAddRmsNorm() = default;

Result<MatmulAllReduceAddRmsNorm> MatmulAllReduceAddRmsNorm::plan(
    Context& context, Group& group, const MatmulAllReduceAddRmsNormArgs& args,
    const MatmulAllReduceAddRmsNormOptions& options) {
  bool empty = false;
  WEFT_RETURN_IF_ERROR(ops::check_plan(args, group.rank(), empty));
  if (options.super_block_rows < 0)
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("{} (rank {}): options.super_block_rows is {} but must be 0 or more",
                    ops::kMatmulAllReduceAddRmsNorm, group.rank(), options.super_block_rows));

  const ops::MatmulOperands operands = operands_of(args);
  const std::int64_t m = empty ? 0 : ops::rows_of(args.x1), n = operands.weight_n();
  const std::int64_t row_bytes = round_up(n * 2, kCacheLine);
  const tile::Pattern pattern = options.super_block_rows
                                    ? tile::Pattern::kTwoShot
                                    : choose_pattern(m * row_bytes, m, group.state());
  const std::int64_t wanted = options.super_block_rows ? options.super_block_rows : kSuperBlockRows;
  WEFT_ASSIGN_OR_RETURN(
      tile::Layout layout,
      tile::Layout::make(pattern, m, group.ranks(), row_bytes, wanted, group.window_bytes()));
  auto plan = std::make_unique<Plan>(Plan{.context = context.state(),
                                          .group = group.state(),
                                          .args = args,
                                          .options = options,
                                          .local = {},
                                          .layout = layout,
                                          .header = make_header(args, layout),
                                          .row_scratch = {},
                                          .gamma = {},
                                          .empty = empty});
  if (empty) return MatmulAllReduceAddRmsNorm(std::move(plan));
  WEFT_ASSIGN_OR_RETURN(plan->local,
                        ops::LocalMatmul::plan(context.state(), operands, args.residual.dtype(),
                                               layout.grid.max_super_block_rows()));
  const std::int64_t pointers = (2 * group.ranks() + 1) * static_cast<std::int64_t>(sizeof(void*));
  plan->row_scratch_bytes = 2 * row_bytes + round_up(pointers, kCacheLine);
  WEFT_ASSIGN_OR_RETURN(plan->row_scratch,
                        Buffer::allocate(plan->row_scratch_bytes * context.threads(), "rows of y"));
  WEFT_ASSIGN_OR_RETURN(plan->gamma, Buffer::allocate(row_bytes, "gamma"));
  return MatmulAllReduceAddRmsNorm(std::move(plan));
}

Status MatmulAllReduceAddRmsNorm::run(const MatmulAllReduceAddRmsNormArgs& args) {
  WEFT_RETURN_IF_ERROR(plan_->group.health());
  WEFT_RETURN_IF_ERROR(ops::check_run(plan_->args, args, plan_->group.rank()));
  return ops::run_tiles(*plan_, args);
}

std::string MatmulAllReduceAddRmsNorm::describe() const {
  const Plan& p = *plan_;
  if (p.empty) return "nothing to compute: an operand is empty\n";
  const std::int64_t window = p.layout.window_bytes_used();
  return fmt::format("shape     m {} x k {} x n {}, {} ranks over {}\n", p.local.m(), p.local.k(),
                     p.local.n(), p.group.ranks(), p.group.transport_name()) +
         p.local.describe() +
         fmt::format(
             "rows      {}\nthreads   {}\npattern   {}\ntiles     {} super-blocks of at most {} "
             "rows, tiles of {}\n"
             "window    {:.1f} MiB of {:.1f} MiB per rank\n",
             p.local.row_kernels().name, p.context.pool.threads(),
             p.layout.pattern == tile::Pattern::kOneShot
                 ? "one shot: every rank adds every partial"
                 : "two shots: owners add, everybody reads the reduced rows",
             p.layout.grid.super_blocks(), p.layout.grid.max_super_block_rows(),
             p.layout.grid.max_tile_rows(), static_cast<double>(window) / (1 << 20),
             static_cast<double>(p.group.window_bytes()) / (1 << 20));
}

Status matmul_allreduce_add_rmsnorm(Context& context, Group& group,
                                    const MatmulAllReduceAddRmsNormArgs& args,
                                    const MatmulAllReduceAddRmsNormOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MatmulAllReduceAddRmsNorm::plan(context, group, args, options));
  return plan.run(args);
}

}  // namespace weft
