// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>

#include "ops/matmul_collective/matmul_collective.h"

namespace weft::ops {
namespace {

using internal::GroupState;

// Rows of a super-block. Every super-block packs x2 once more, which takes as long as multiplying
// 12 rows (AVX2) to 160 (AMX): this many make that 8 % of the product at most. Nothing is gained by
// fewer, which would still not fit a cache, and little by more, which need a larger window.
// See docs/measurements/matmul_collectives.md.
constexpr std::int64_t kSuperBlockRows = 2048;

// Up to this many bytes of partial sums per rank, adding everything everywhere is faster than owner
// and broadcast: it saves one hand-off.
constexpr std::int64_t kOneShotBytes = 512 << 10;

tile::Pattern choose_pattern(std::int64_t partial_bytes, std::int64_t m, const GroupState& group) {
  // One-shot calls have a fixed part of the window; what does not fit there goes through the ring.
  if (partial_bytes > tile::one_shot_bytes(group.window_bytes())) return tile::Pattern::kRing;
  if (partial_bytes * (group.ranks() - 1) <= kOneShotBytes) return tile::Pattern::kOneShot;
  // Fewer rows than ranks: most ranks would own nothing.
  return m < group.ranks() ? tile::Pattern::kOneShot : tile::Pattern::kRing;
}

Result<tile::Layout> make_layout(const CollectiveCall& call, const GroupState& group,
                                 std::int64_t m, std::int64_t row_bytes) {
  if (call.super_block_rows < 0)
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("{} (rank {}): options.super_block_rows is {} but must be 0 or more",
                              call.op, group.rank(), call.super_block_rows));
  const tile::Pattern pattern =
      call.super_block_rows ? tile::Pattern::kRing : choose_pattern(m * row_bytes, m, group);
  return tile::Layout::make(call.collective, pattern, m, group.ranks(), row_bytes,
                            call.super_block_rows ? call.super_block_rows : kSuperBlockRows,
                            group.window_bytes());
}

void add_shape(internal::CallHeader& header, const CollectiveCall& call, std::int64_t m,
               const tile::Layout& layout) {
  header.add("m", m)
      .add("n", call.operands.weight_n())
      .add("x1 dtype", to_string(call.operands.x1.dtype()))
      .add("x2 dtype", to_string(call.operands.weight_dtype()))
      .add("output dtype", to_string(call.io))
      .add("communication", to_string(call.comm_scales.scale_1.given() ? DType::kInt8 : call.io))
      .add("super-block rows", layout.grid.max_super_block_rows())
      .add("pattern", layout.pattern == tile::Pattern::kOneShot ? "one shot" : "ring");
}

}  // namespace

Result<MatmulCollective> MatmulCollective::plan(internal::ContextState& context,
                                                internal::GroupState& group,
                                                const CollectiveCall& call,
                                                internal::CallHeader header) {
  const std::int64_t m = call.empty ? 0 : rows_of(call.operands.x1), n = call.operands.weight_n();
  WEFT_ASSIGN_OR_RETURN(Wire wire, Wire::plan(context.scratch, rows::select(call.io, context.isa),
                                              n, call.comm_scales));
  WEFT_ASSIGN_OR_RETURN(const tile::Layout layout, make_layout(call, group, m, wire.row_bytes()));
  add_shape(header, call, m, layout);
  MatmulCollective plan(context, group, layout, header);
  plan.trace_ = call.trace;
  plan.empty_ = call.empty;
  plan.packs_x2_ = call.operands.packed_x2 == nullptr;
  if (call.empty) return plan;
  plan.wire_ = std::move(wire);
  WEFT_ASSIGN_OR_RETURN(plan.local_,
                        LocalMatmul::plan(context, call.operands, call.io,
                                          layout.grid.max_super_block_rows(), group.ranks()));
  plan.runs_.reserve(static_cast<size_t>(group.ranks()));
  const std::int64_t pointers = (2 * group.ranks() + 1) * static_cast<std::int64_t>(sizeof(void*));
  plan.row_scratch_bytes_ = round_up(2 * n, kCacheLine) + round_up(pointers, kCacheLine);
  WEFT_ASSIGN_OR_RETURN(plan.row_scratch_,
                        context.scratch.reserve(ScratchFor::kThreadRows,
                                                plan.row_scratch_bytes_ * context.pool.threads()));
  return plan;
}

std::string MatmulCollective::describe() const {
  if (empty_) return "nothing to compute: an operand is empty\n";
  const bool one_shot = layout_.pattern == tile::Pattern::kOneShot;
  const bool scatter = layout_.collective == tile::Collective::kReduceScatter;
  return fmt::format("shape     m {} x k {} x n {}, {} ranks over {}\n", local_.m(), local_.k(),
                     local_.n(), group_->ranks(), group_->transport_name()) +
         local_.describe() +
         fmt::format(
             "rows      {}, travelling as {}\nthreads   {}\npattern   {}\n"
             "tiles     {} super-blocks of at most {} rows{}, tiles of {}\n"
             "window    {:.1f} MiB of {:.1f} MiB per rank\n",
             local_.row_kernels().name,
             wire_.is_int8() ? "int8" : to_string(local_.row_kernels().type),
             context_->pool.threads(),
             one_shot && scatter ? "one shot: every rank adds every partial of its rows"
             : one_shot          ? "one shot: every rank adds every partial"
             : scatter           ? "ring: owners add the partials of their rows"
                                 : "ring: owners add, everybody reads the reduced rows",
             layout_.grid.super_blocks(), layout_.grid.max_super_block_rows(),
             packs_x2_ ? ", each packs x2 once" : "", layout_.grid.max_tile_rows(),
             static_cast<double>(layout_.window_bytes_used()) / (1 << 20),
             static_cast<double>(group_->window_bytes()) / (1 << 20));
}

}  // namespace weft::ops
