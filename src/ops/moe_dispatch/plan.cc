// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_dispatch/plan.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/memory.h"
#include "ops/moe_routing/agreement.h"

namespace weft {
namespace {

using Args = MoeDispatchArgs;
using internal::CallHeader;

ops::DispatchWire wire_of(const Args& args) {
  const DType dtype = args.expand_x.dtype();
  const std::int64_t row = bytes_of(dtype, args.x.dim(1));
  return {dtype, row, dtype == DType::kInt8 ? round_up(row, 4) : -1};
}

CallHeader header_of(const Args& args, bool tp) {
  CallHeader header(ops::kMoeDispatch);
  header.add("hidden size", args.x.dim(1))
      .add("experts per token", args.expert_ids.dim(1))
      .add("x dtype", to_string(args.x.dtype()))
      .add("expand_x dtype", to_string(args.expand_x.dtype()));
  return ops::add_experts(header, args.experts, tp);
}

// Rows that a token may need in a piece. Without factors of each expert's own one is enough.
std::int64_t rows_per_token(const Args& args) {
  return args.scales.given() ? args.expert_ids.dim(1) + args.experts.shared_expert_num : 1;
}

std::int64_t most_tokens(const Args& args, const tile::RowLayout& layout, int ranks) {
  const std::int64_t entries = args.expert_ids.dim(1) + args.experts.shared_expert_num;
  const auto bytes = [&](std::int64_t tokens) {
    return tile::RowPiece::bytes(ranks, tokens * entries, tokens * rows_per_token(args),
                                 layout.row_bytes);
  };
  const std::int64_t room = layout.slot_bytes - bytes(0) - kCacheLine;  // labels are rounded up
  return std::max<std::int64_t>(1, 64 * room / (bytes(64) - bytes(0)));
}

}  // namespace

namespace ops {

std::int64_t DispatchWire::bytes() const {
  const std::int64_t scale = static_cast<std::int64_t>(sizeof(float));
  return round_up(scale_offset < 0 ? row_bytes : scale_offset + scale, kCacheLine);
}

}  // namespace ops

MoeDispatch::MoeDispatch(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
MoeDispatch::MoeDispatch(MoeDispatch&&) noexcept = default;
MoeDispatch& MoeDispatch::operator=(MoeDispatch&&) noexcept = default;
MoeDispatch::~MoeDispatch() = default;

Result<MoeDispatch> MoeDispatch::plan(Context& context, Group& group, const Args& args,
                                      const MoeDispatchOptions& options) {
  const int rank = group.rank(), ranks = group.ranks();
  const bool tp = options.tp_group != nullptr;
  WEFT_RETURN_IF_ERROR(ops::check_plan(args, rank, ranks, tp));
  WEFT_RETURN_IF_ERROR(ops::check_pair(ops::kMoeDispatch, rank, options.tp_group));
  const ops::Placement placement(args.experts, ranks);
  const ops::DispatchWire wire = wire_of(args);
  const std::int64_t entries = args.expert_ids.dim(1) + args.experts.shared_expert_num;
  const auto head = static_cast<std::int64_t>(sizeof(ops::DispatchHead)) +
                    placement.places() * static_cast<std::int64_t>(sizeof(std::uint32_t));
  // The labels of one token are no more than one for each of its experts.
  WEFT_ASSIGN_OR_RETURN(const tile::RowLayout layout,
                        ops::make_layout(ops::kMoeDispatch, group.state(), head, wire.bytes(),
                                         std::max<std::int64_t>(entries, 1)));
  const isa::Set isa = context.state().isa;
  const std::int64_t tokens = args.x.dim(0);
  auto plan = std::make_unique<Plan>(
      Plan{.context = context,
           .group = group.state(),
           .args = args,
           .options = options,
           .header = header_of(args, tp),
           .placement = placement,
           .routing = ops::Routing(placement, args.experts, rank, tokens, args.expert_ids.dim(1)),
           .wire = wire,
           .layout = layout,
           .piece_tokens = most_tokens(args, layout, ranks),
           .rows = rows::select(args.x.dtype(), isa),
           .copy = reduction::select_copy(isa)});
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  plan->labels.resize(size(ranks));
  plan->sent.resize(size(placement.places()));
  plan->row_of.resize(size(tokens));
  plan->staged.reserve(size(tokens * rows_per_token(args)));
  plan->next.resize(size(placement.local_places(rank) * ranks));
  plan->arrived.reserve(ops::kArrivedBatch);
  plan->pair.resize(tp ? size(2 * (ranks + 2)) : 0);
  return MoeDispatch(std::move(plan));
}

Status MoeDispatch::run(const Args& args) {
  Plan& plan = *plan_;
  Group* const tp_group = plan.options.tp_group;
  Status status = plan.group.health();
  if (status.ok()) {
    WEFT_RETURN_IF_ERROR(ops::check_run(plan.args, args, plan.group.rank()));
    status = ops::run_dispatch(plan, args);
  }
  if (status.ok() && plan.options.counts) *plan.options.counts = plan.routing.counts();
  if (status.ok() && tp_group) status = ops::gather_pair(plan, args);
  return ops::end_of_run(plan.group, tp_group, status);
}

std::string MoeDispatch::describe() const {
  const Plan& plan = *plan_;
  const Args& args = plan.args;
  const bool int8 = plan.wire.scale_offset >= 0;
  return ops::describe_experts(args.experts, plan.group) +
         fmt::format(
             "tokens    {} of this rank, {} elements, {} experts each\n"
             "rows      {} as {}{}, {} bytes each in the window\n"
             "room      {} rows for {} local experts\n"
             "window    one piece of {:.2f} MiB, else pieces of at most {} tokens in slots of "
             "{:.2f} "
             "MiB; counts {} bytes\n",
             args.x.dim(0), args.x.dim(1), args.expert_ids.dim(1), to_string(args.x.dtype()),
             to_string(args.expand_x.dtype()),
             int8 ? fmt::format(", quantised by {}", plan.rows.name) : "", plan.layout.row_bytes,
             args.expand_x.dim(0), plan.placement.local_places(plan.group.rank()),
             static_cast<double>(plan.layout.half_bytes) / (1 << 20), plan.piece_tokens,
             static_cast<double>(plan.layout.slot_bytes) / (1 << 20), plan.layout.head_bytes);
}

Status moe_dispatch(Context& context, Group& group, const Args& args,
                    const MoeDispatchOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, MoeDispatch::plan(context, group, args, options));
  return plan.run(args);
}

}  // namespace weft
