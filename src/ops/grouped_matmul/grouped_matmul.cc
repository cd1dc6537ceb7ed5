// SPDX-License-Identifier: Apache-2.0
#include "ops/grouped_matmul/grouped_matmul.h"

#include <fmt/core.h>

#include "base/memory.h"
#include "ops/weights/packed_weight.h"

namespace weft::ops {
namespace {

// The kernel that the weight was packed for, or the best one.
Result<const gemm::Kernel*> choose_kernel(const internal::ContextState& context,
                                          const WeightOperands& operands,
                                          const GroupedShape& shape) {
  const gemm::Kernel* kernel =
      operands.packed ? operands.packed->state().kernel : gemm::select(shape.x, context.isa);
  if (!kernel)
    return Status(StatusCode::kUnimplemented,
                  fmt::format("no gemm kernel for {} among the instruction sets {}",
                              to_string(shape.x), isa::names(context.isa)));
  if (kernel->isa & ~context.isa)
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("{} was packed for {}, which this Context may not use ({}); pack it "
                              "with this Context",
                              shape.packed_name, kernel->name, isa::names(context.isa)));
  return kernel;
}

// What is cut into which pieces, and the cache that each is meant for.
std::string describe_blocks(const gemm::Kernel& kernel, const gemm::Weight& weight,
                            const gemm::Blocking& blocking, std::string_view name) {
  const auto kib = [](std::int64_t bytes) { return ceil_div(bytes, 1024); };
  const gemm::Caches caches = gemm::machine_caches();
  const std::int64_t columns = blocking.sides * blocking.nc;
  const std::int64_t block = columns / kernel.nr * kernel.b_panel_bytes(blocking.ks);
  const std::int64_t rows = kernel.mr * blocking.kc * kernel.a_bytes;
  std::string text = fmt::format(
      "blocks    {} x {} of {}, {}: {} KiB of L2 ({} KiB), the rest for rows and sums\n",
      blocking.ks, columns, name, weight.packed ? "as packed" : "packed per thread", kib(block),
      kib(caches.l2_bytes));
  text += fmt::format("chunks    {} rows of k: {} KiB of {} rows for L1 ({} KiB), ", blocking.kc,
                      kib(rows), kernel.mr, kib(caches.l1_bytes));
  return text + (gemm::loads_past_l1(kernel)
                     ? fmt::format("which {} and sums pass by\n", name)
                     : fmt::format("with the next {} KiB and {} KiB of {}\n", kib(rows),
                                   kib(kernel.b_panel_bytes(blocking.kc)), name));
}

}  // namespace

Result<GroupedMatmul> GroupedMatmul::plan(internal::ContextState& context,
                                          const WeightOperands& operands,
                                          const GroupedShape& shape) {
  GroupedMatmul g;
  g.context_ = &context;
  WEFT_ASSIGN_OR_RETURN(g.kernel_, choose_kernel(context, operands, shape));
  g.rows_ = &rows::select(shape.io, context.isa);
  g.n_ = operands.n();
  g.k_ = operands.k();
  g.layout_ = BoundWeights::layout_of(*g.kernel_, operands);
  const int threads = context.pool.threads();
  g.blocking_ = gemm::choose_blocking(*g.kernel_, g.layout_, g.n_ / shape.sides, g.k_, threads,
                                      gemm::machine_caches(), shape.sides);
  WEFT_ASSIGN_OR_RETURN(g.weights_, BoundWeights::plan(context.scratch, *g.kernel_, *g.rows_,
                                                       operands, shape.max_groups));
  WEFT_ASSIGN_OR_RETURN(
      g.packed_a_, context.scratch.reserve(
                       ScratchFor::kPackedRows,
                       gemm::packed_a_bytes(*g.kernel_, g.k_, shape.max_rows, shape.max_groups)));
  g.thread_scratch_bytes_ =
      gemm::batch_scratch_bytes(*g.kernel_, g.layout_, g.blocking_, shape.max_rows, g.k_);
  WEFT_ASSIGN_OR_RETURN(g.scratch_, context.scratch.reserve(ScratchFor::kWeightBlocks,
                                                            threads * g.thread_scratch_bytes_));
  g.products_.reserve(static_cast<size_t>(shape.max_groups));
  g.bound_.reserve(static_cast<size_t>(shape.max_groups));
  return g;
}

void GroupedMatmul::bind(const WeightOperands& operands, std::span<const RowGroup> groups) {
  products_.clear();
  bound_.clear();
  for (const RowGroup& group : groups) {
    bound_.push_back(
        weights_.bind(operands, group.expert, static_cast<std::int64_t>(bound_.size())));
    products_.push_back(
        {.runs = group.runs, .weight = bound_.back().weight, .bias = bound_.back().bias});
  }
}

void GroupedMatmul::compute(const gemm::RowSource& x, const gemm::Epilogue& epilogue) {
  gemm::run(context_->pool, {.kernel = kernel_,
                             .rows = rows_,
                             .blocking = blocking_,
                             .n = n_ / blocking_.sides,
                             .k = k_,
                             .a = x,
                             .products = products_,
                             .packed_a = packed_a_.data(),
                             .scratch = scratch_.data(),
                             .scratch_bytes = thread_scratch_bytes_,
                             .epilogue = epilogue});
}

rows::StoreTile GroupedMatmul::tile_rows(const gemm::FinishedTile& tile, std::int64_t begin,
                                         std::int64_t count) const {
  rows::StoreTile rows{};
  rows.m = static_cast<int>(count);
  rows.n = tile.n;
  rows.acc = static_cast<const std::byte*>(tile.acc) + begin * tile.acc_stride_bytes;
  rows.acc_stride_bytes = tile.acc_stride_bytes;
  rows.panel_columns = tile.panel_columns;
  rows.panel_stride_bytes = tile.panel_stride_bytes;
  if (const BoundWeight& weight = bound(tile.product); weight.scale) {
    rows.scale = weight.scale + weight.scale_step * tile.col;
    rows.scale_step = weight.scale_step;
  }
  return rows;
}

void GroupedMatmul::store(const rows::StoreTile& tile) const {
  (tile.scale ? rows_->store_tile_s32 : rows_->store_tile_f32)(tile);
}

std::int64_t GroupedMatmul::scratch_bytes() const {
  return packed_a_.bytes() + scratch_.bytes() + weights_.bytes();
}

std::string GroupedMatmul::describe(std::string_view weight_name) const {
  return fmt::format("kernel    {}\n{}{:<9} {}\n", kernel_->name,
                     describe_blocks(*kernel_, layout_, blocking_, weight_name), weight_name,
                     layout_.packed            ? "packed by the caller"
                     : layout_.nz_rows         ? "FRACTAL_NZ"
                     : layout_.k_is_adjacent() ? "transposed view (n, k)"
                     : layout_.is_scattered()  ? "no adjacent axis"
                                               : "row-major (k, n)");
}

gemm::RowSource row_source(const ConstTensorRef& x) {
  const int last = x.rank() - 1;
  return {static_cast<const std::byte*>(x.data()), RowOffsets(x, last),
          x.dim(last) == 1 ? 1 : x.stride(last)};
}

}  // namespace weft::ops
