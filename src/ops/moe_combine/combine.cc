// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_combine/combine.h"

#include <fmt/core.h>

#include <algorithm>

#include "ops/moe_combine/run.h"
#include "ops/moe_combine/terms.h"
#include "ops/moe_routing/agreement.h"
#include "weft/collectives.h"

namespace weft::ops {
namespace {

using internal::CallHeader;

CombineWire wire_of(const MoeCombineArgs& args) {
  constexpr std::int64_t kGroup = 8;  // elements with a scale of their own
  const std::int64_t n = args.expand_x.dim(1);
  if (!args.int8_communication) return {2 * n, -1, round_up(2 * n, kCacheLine)};
  const std::int64_t scales = round_up(n, 2);
  return {n, scales, round_up(scales + 2 * ceil_div(n, kGroup), kCacheLine)};
}

std::int64_t slots_of(const MoeCombineArgs& args) {
  return args.expert_ids.dim(1) + args.experts.shared_expert_num;
}

}  // namespace

Combine::Combine(Context& context, Group& group, const MoeCombineArgs& args,
                 const MoeCombineOptions& options, const CallHeader& header)
    : context_(&context),
      group_(&group.state()),
      args_(args),
      options_(options),
      header_(header),
      placement_(args.experts, group.ranks()),
      wire_(wire_of(args)),
      rows_(&rows::select(args.expand_x.dtype(), context.state().isa)),
      copy_(reduction::select_copy(context.state().isa)) {}

Result<Combine> Combine::plan(Context& context, Group& group, std::string_view op,
                              const MoeCombineArgs& args, const MoeCombineOptions& options,
                              CallHeader header) {
  WEFT_RETURN_IF_ERROR(check_pair(op, group.rank(), options.tp_group));
  header.add("hidden size", args.expand_x.dim(1))
      .add("experts per token", args.expert_ids.dim(1))
      .add("dtype", to_string(args.expand_x.dtype()))
      .add("communication", args.int8_communication ? "int8" : to_string(args.expand_x.dtype()));
  add_experts(header, args.experts, options.tp_group != nullptr);
  Combine plan(context, group, args, options, header);
  plan.op_ = op;
  WEFT_RETURN_IF_ERROR(plan.allocate());
  return plan;
}

Status Combine::allocate() {
  const int ranks = group_->ranks();
  const auto head = static_cast<std::int64_t>(sizeof(CombineHead)) +
                    ranks * static_cast<std::int64_t>(sizeof(std::uint32_t));
  const std::int64_t slots = slots_of(args_), n = args_.expand_x.dim(1);
  WEFT_ASSIGN_OR_RETURN(
      layout_, make_layout(op_, *group_, head, wire_.bytes, std::max<std::int64_t>(slots, 1)));
  const auto piece = [&](std::int64_t rows) {
    return tile::RowPiece::bytes(ranks, rows, rows, wire_.bytes);
  };
  piece_rows_ = std::max(slots, 64 * (layout_.slot_bytes - piece(0)) / (piece(64) - piece(0)) - 1);

  scratch_bytes_ = Terms::scratch_bytes(args_);
  ScratchPool& scratch = context_->state().scratch;
  WEFT_ASSIGN_OR_RETURN(
      scratch_, scratch.reserve(ScratchFor::kThreadRows, scratch_bytes_ * context_->threads()));
  if (tp()) {
    WEFT_ASSIGN_OR_RETURN(pair_sum_,
                          scratch.reserve(ScratchFor::kPairSums, 2 * args_.expand_x.dim(0) * n));
  }
  routes_.reserve(static_cast<std::size_t>(args_.expand_x.dim(0)));
  labels_.resize(static_cast<std::size_t>(ranks));
  arrived_.resize(static_cast<std::size_t>(args_.expert_ids.dim(0) * slots));
  return {};
}

// Each rank of the pair gets the sum of what both made of the rows that came to it. The contract of
// the collective has the checks: counts that differ end in an error on both.
Status Combine::add_pair(const MoeCombineArgs& args) {
  Group& pair = *options_.tp_group;
  const auto* const rows = static_cast<const std::int32_t*>(args.tp_send_counts.data());
  const std::int64_t n = args.expand_x.dim(1), own = rows[pair.rank()],
                     other = rows[1 - pair.rank()];
  if (own < 0 || other < 0 || own + other > args.expand_x.dim(0))
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("{} (rank {}): tp_send_counts are {} and {} but expand_x has {} rows; "
                    "pass what dispatch wrote",
                    op_, group_->rank(), rows[0], rows[1], args.expand_x.dim(0)));
  // Of the own rows, then of the other's: the two end where the rows do.
  const auto* const ends = static_cast<const std::int32_t*>(args.ep_send_counts.data());
  const int ranks = group_->ranks();
  if (own != ends[ranks - 1] || other != ends[2 * ranks - 1])
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format(
            "{} (rank {}): tp_send_counts are {} and {} but by ep_send_counts this rank has "
            "{} rows and the other of the pair {}; pass what one dispatch wrote",
            op_, group_->rank(), rows[0], rows[1], ends[ranks - 1], ends[2 * ranks - 1]));
  const std::int64_t counts[] = {rows[0] * n, rows[1] * n};
  std::int64_t offsets[] = {0, 0};
  offsets[1 - pair.rank()] = own * n;
  return reduce_scatterv(*context_, pair, args.expand_x.data(), counts, offsets, pair_sum_.data(),
                         args.expand_x.dtype(), ReduceOp::kSum);
}

Status Combine::health() const { return end_of_run(*group_, options_.tp_group, group_->health()); }

Status Combine::run(const MoeCombineArgs& args, const CombineEpilogue& epilogue) {
  if (!tp()) return run_combine(*this, args, args.expand_x, epilogue);
  // The pair would wait for a rank that knows of no pair, so first all say what they are about to
  // do.
  Status status = begin_and_check(*group_, header_, options_.trace);
  if (status.ok()) {
    group_->end_call();
    status = add_pair(args);
  }
  const ConstTensorRef sums = args.expand_x.with_data(pair_sum_.data());
  if (status.ok()) status = run_combine(*this, args, sums, epilogue);
  return end_of_run(*group_, options_.tp_group, status);
}

std::string Combine::describe() const {
  const bool int8 = args_.int8_communication;
  return describe_experts(args_.experts, *group_) +
         fmt::format(
             "tokens    {} of this rank, {} elements of {}, {} experts each\n"
             "rows      {}, travelling as {}, {} bytes each in the window\n"
             "room      {} rows of {} local experts\n"
             "window    one piece of {:.2f} MiB, else pieces of at most {} rows in slots of {:.2f} "
             "MiB\n",
             args_.expert_ids.dim(0), args_.expand_x.dim(1), to_string(args_.expand_x.dtype()),
             args_.expert_ids.dim(1), rows_->name,
             int8 ? "int8" : to_string(args_.expand_x.dtype()), wire_.bytes, args_.expand_x.dim(0),
             placement_.local_places(group_->rank()),
             static_cast<double>(layout_.half_bytes) / (1 << 20), piece_rows_,
             static_cast<double>(layout_.slot_bytes) / (1 << 20));
}

}  // namespace weft::ops
