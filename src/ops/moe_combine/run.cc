// SPDX-License-Identifier: Apache-2.0
// The way back of a row: the rank of its expert stages it, the rank of its token reads it there
// when it adds up all rows of the token.
//
// With few rows they are in the window before the call is entered, and the ranks meet once. With
// more they come in pieces, in two stages, one step apart. A token needs rows of several ranks at
// the same time, so the pieces of all ranks cover the same turns (Route); their number is a power
// of two, because ranks have different ideas of it and the smallest one must fit them all.
#include "ops/moe_combine/run.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "base/topology.h"
#include "ops/moe_combine/terms.h"
#include "ops/moe_routing/agreement.h"
#include "ops/row_work.h"
#include "ops/traced.h"

namespace weft::ops {

using tile::RowLabel;
using tile::RowPiece;

namespace {

// What a label says.
enum What { kToken, kSlot, kRow };

}  // namespace

class CombineRun {
 public:
  CombineRun(Combine& plan, const MoeCombineArgs& args, const ConstTensorRef& expand_x,
             const CombineEpilogue& epilogue)
      : plan_(plan),
        args_(args),
        expand_x_(static_cast<const std::byte*>(expand_x.data())),
        expand_rows_(expand_x, 1),
        epilogue_(epilogue),
        group_(*plan.group_),
        rank_(group_.rank()),
        ranks_(group_.ranks()),
        tokens_(args.expert_ids.dim(0)),
        terms_(args, *plan.rows_, plan.wire_),
        exchange_(group_, plan.layout_) {
    // What does not fit a cache goes past it.
    if (2 * tokens_ * expand_x.dim(1) >= kStreamBytes) store_ = rows::Store::kStream;
  }

  Status run() {
    std::ranges::fill(plan_.arrived_, nullptr);
    if (const Status routes = read_routes(); !routes.ok()) return fail(routes);
    write_head();
    WEFT_RETURN_IF_ERROR(begin_and_check(group_, plan_.header_, plan_.options_.trace));
    WEFT_RETURN_IF_ERROR(take_own_rows());
    for (int i = 1; i < ranks_; ++i) {
      const int from = (rank_ + i) % ranks_;
      if (head(from).turns == 0) WEFT_RETURN_IF_ERROR(take(exchange_.half_piece(from), from));
    }
    WEFT_RETURN_IF_ERROR(finish_in_turn());
    group_.end_call();
    return {};
  }

 private:
  // --- sending ---

  CombineHead& head(int rank) const {
    return *reinterpret_cast<CombineHead*>(exchange_.head(rank));
  }
  std::uint32_t* rows_for(int rank) const {
    return reinterpret_cast<std::uint32_t*>(&head(rank) + 1);
  }
  /// Rows that are not changed on the way need not travel to their own rank.
  bool stages_own() const { return plan_.wire_.scale_offset >= 0; }
  const std::byte* expand_row(std::int64_t j) const { return expand_x_ + expand_rows_[j]; }
  Status read_routes();
  Status fail(const Status& status);
  void write_head();
  std::int64_t turns_that_fit() const;
  void stage(RowPiece piece, std::span<const Route> routes);
  std::span<const Route> routes_before(std::int64_t turn);

  // --- receiving ---

  Status put(std::int64_t token, std::int64_t slot, const std::byte* row, int from);
  Status take_own_rows();
  Status take(RowPiece piece, int from);
  Status finish_in_turn();
  Status take_pieces(std::int64_t s);
  Status finish(std::int64_t begin, std::int64_t end);
  Status check_arrived(std::int64_t begin, std::int64_t end) const;

  Combine& plan_;
  const MoeCombineArgs& args_;
  const std::byte* const expand_x_;
  const RowOffsets expand_rows_;
  const CombineEpilogue& epilogue_;
  internal::GroupState& group_;
  const int rank_, ranks_;
  const std::int64_t tokens_;
  const Terms terms_;
  tile::RowExchange exchange_;
  std::size_t staged_ = 0;  // routes
  rows::Store store_ = rows::Store::kPlain;
};

// Where every row goes, in the order of turns.
Status CombineRun::read_routes() {
  std::vector<Route>& routes = plan_.routes_;
  routes.clear();
  const std::int64_t counts = ranks_ * plan_.placement_.local_places(rank_);
  const auto* const sums = static_cast<const std::int32_t*>(args_.ep_send_counts.data());
  const std::int64_t rows = counts > 0 ? sums[counts - 1] : 0;
  const std::int64_t room =
      std::min(args_.expand_x.dim(0), args_.assist_info_for_combine.elements() / 3);
  if (rows < 0 || rows > room)
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("{}: rank {} has {} rows by the last of its ep_send_counts, but its "
                              "expand_x and assist_info_for_combine have {}; pass what dispatch "
                              "wrote",
                              plan_.op_, rank_, rows, room));
  const auto* triple = static_cast<const std::int32_t*>(args_.assist_info_for_combine.data());
  for (std::int32_t row = 0; row < rows; ++row, triple += 3) {
    const std::int32_t owner = triple[0], token = triple[1], slot = triple[2];
    if (owner < 0 || owner >= ranks_ || token < 0 || slot < 0 || slot >= terms_.slots())
      return Status(
          StatusCode::kInvalidArgument,
          fmt::format(
              "{}: assist_info_for_combine of rank {} says that row {} is of rank {}, token "
              "{}, slot {}; there are {} ranks and {} slots. Pass what dispatch wrote",
              plan_.op_, rank_, row, owner, token, slot, ranks_, terms_.slots()));
    routes.push_back({std::int64_t{token} * ranks_ + owner, row, owner, token, slot});
  }
  std::ranges::sort(routes, {}, [](const Route& r) { return std::pair(r.turn, r.row); });
  return {};
}

// The others have begun, or will, and must not wait for this rank.
Status CombineRun::fail(const Status& status) {
  WEFT_RETURN_IF_ERROR(group_.begin_call(plan_.header_));
  return group_.poison(status);
}

void CombineRun::write_head() {
  std::uint32_t* const rows = rows_for(rank_);
  std::fill_n(rows, ranks_, 0);
  for (const Route& route : plan_.routes_) ++rows[route.owner];
  if (!stages_own()) rows[rank_] = 0;
  std::int64_t staged = 0;
  for (int q = 0; q < ranks_; ++q) staged += rows[q];
  const bool fits =
      RowPiece::bytes(ranks_, staged, staged, plan_.wire_.bytes) <= plan_.layout_.half_bytes;
  head(rank_) = {.turns = fits ? 0 : turns_that_fit(), .tokens = tokens_};
  if (!fits) return;
  const Traced publish(plan_.options_.trace, TraceKind::kPublish, -1);
  stage(exchange_.half_piece(rank_), plan_.routes_);
}

// The largest power of two such that the rows of as many turns always fit into a piece; any smaller
// one does too.
std::int64_t CombineRun::turns_that_fit() const {
  const std::vector<Route>& routes = plan_.routes_;
  const auto turns = static_cast<std::uint64_t>(routes.back().turn + 1);
  for (auto shift = std::bit_width(turns - 1); shift > 0; --shift) {
    std::int64_t rows = 0, most = 0, piece = -1;
    for (const Route& route : routes) {
      rows = route.turn >> shift == piece ? rows + 1 : 1;
      piece = route.turn >> shift;
      most = std::max(most, rows);
    }
    if (most <= plan_.piece_rows_) return std::int64_t{1} << shift;
  }
  return 1;  // the rows of one token: the plan has seen to it that they fit
}

std::span<const Route> CombineRun::routes_before(std::int64_t turn) {
  const std::span<const Route> rest = std::span<const Route>(plan_.routes_).subspan(staged_);
  const auto end =
      std::ranges::partition_point(rest, [&](const Route& r) { return r.turn < turn; });
  const std::span<const Route> routes = rest.first(static_cast<std::size_t>(end - rest.begin()));
  staged_ += routes.size();
  return routes;
}

void CombineRun::stage(RowPiece piece, std::span<const Route> routes) {
  std::vector<std::int64_t>& labels = plan_.labels_;
  std::ranges::fill(labels, 0);
  const auto leaves = [&](const Route& r) { return r.owner != rank_ || stages_own(); };
  for (const Route& route : routes)
    if (leaves(route)) ++labels[static_cast<std::size_t>(route.owner)];
  piece.lay_out(labels);
  // The rows of each rank one after the other, in the order in which it reads them.
  std::uint32_t before = 0;
  for (std::int64_t& first : labels)
    before += static_cast<std::uint32_t>(std::exchange(first, before));
  for (const Route& route : routes) {
    if (!leaves(route)) continue;
    const auto row = static_cast<std::uint32_t>(labels[static_cast<std::size_t>(route.owner)]++);
    RowLabel& label = piece.labels(0).data()[row];
    label = {row, {route.token, route.slot, route.row}};
  }
  // In a piece of the ring; where ranks do not share a cache, memory is a shorter way than from one
  // to another.
  const bool past_cache = head(rank_).turns > 0 && topology().l3_caches > 1;
  const std::span<const RowLabel> all(piece.labels(0).data(), before);
  for_batches(*plan_.context_, std::ssize(all), plan_.wire_.bytes, [&](std::int64_t i, int) {
    const RowLabel& label = all[static_cast<std::size_t>(i)];
    const std::byte* const from = expand_row(label.what[kRow]);
    std::byte* const to = piece.row(label.row);
    if (plan_.wire_.scale_offset < 0)
      plan_.copy_(from, to, plan_.wire_.row_bytes, past_cache);
    else
      plan_.rows_->encode_groups_row(
          {from, plan_.wire_.row_bytes, to, to + plan_.wire_.scale_offset});
  });
}

Status CombineRun::put(std::int64_t token, std::int64_t slot, const std::byte* row, int from) {
  if (token >= tokens_)
    return group_.poison(Status(
        StatusCode::kInvalidArgument,
        fmt::format("{}: a row came back from rank {} for token {} of rank {}, which has {}; "
                    "pass the assist_info_for_combine of a dispatch of the same tokens",
                    plan_.op_, from, token, rank_, tokens_)));
  const void*& place = plan_.arrived_[static_cast<std::size_t>(token * terms_.slots() + slot)];
  if (!place) {
    place = row;
    return {};
  }
  return group_.poison(Status(
      StatusCode::kInvalidArgument,
      fmt::format("{}: two rows came back to rank {} for its token {}, slot {}, one of them from "
                  "rank {}; pass the assist_info_for_combine and ep_send_counts of one dispatch",
                  plan_.op_, rank_, token, slot, from)));
}

Status CombineRun::take_own_rows() {
  if (stages_own()) {
    return head(rank_).turns == 0 ? take(exchange_.half_piece(rank_), rank_) : Status();
  }
  for (const Route& route : plan_.routes_)
    if (route.owner == rank_)
      WEFT_RETURN_IF_ERROR(put(route.token, route.slot, expand_row(route.row), rank_));
  return {};
}

Status CombineRun::take(RowPiece piece, int from) {
  for (const RowLabel& label : piece.labels(rank_))
    WEFT_RETURN_IF_ERROR(put(label.what[kToken], label.what[kSlot], piece.row(label.row), from));
  return {};
}

Status CombineRun::take_pieces(std::int64_t s) {
  for (int i = 1; i <= ranks_; ++i) {
    const int from = (rank_ + i) % ranks_;
    if (head(from).turns == 0 || rows_for(from)[rank_] == 0) continue;
    if (from != rank_) {
      const Traced wait(plan_.options_.trace, TraceKind::kWait, s, from);
      WEFT_RETURN_IF_ERROR(exchange_.wait(s, from));
    }
    WEFT_RETURN_IF_ERROR(take(exchange_.piece(s, from), from));
  }
  return {};
}

Status CombineRun::finish_in_turn() {
  std::int64_t turns = 0, all = 0;
  for (int q = 0; q < ranks_; ++q) {
    const CombineHead& h = head(q);
    if (h.turns > 0) turns = turns == 0 ? h.turns : std::min(turns, h.turns);
    all = std::max(all, h.tokens * ranks_);
  }
  if (turns == 0) return finish(0, tokens_);
  // The own tokens whose turn is before `turn`.
  const auto tokens_before = [&](std::int64_t turn) {
    return std::min(tokens_, std::max<std::int64_t>(0, ceil_div(turn - rank_, ranks_)));
  };
  const std::int64_t pieces = ceil_div(all, turns);
  for (std::int64_t s = 0; s <= pieces; ++s) {
    if (s < pieces && head(rank_).turns > 0) {
      WEFT_RETURN_IF_ERROR(exchange_.acquire(s));
      const Traced publish(plan_.options_.trace, TraceKind::kPublish, s);
      stage(exchange_.piece(s, rank_), routes_before((s + 1) * turns));
    }
    if (s < pieces) exchange_.publish(s);
    if (s == 0) continue;
    WEFT_RETURN_IF_ERROR(take_pieces(s - 1));
    WEFT_RETURN_IF_ERROR(finish(tokens_before((s - 1) * turns), tokens_before(s * turns)));
    exchange_.consumed(s - 1);
  }
  return {};
}

// A row that is not there would be a sum that is silently wrong.
Status CombineRun::check_arrived(std::int64_t begin, std::int64_t end) const {
  const std::int64_t slots = terms_.slots();
  for (std::int64_t t = begin; t < end; ++t) {
    if (!terms_.active(t)) continue;
    for (std::int64_t slot = 0; slot < slots; ++slot)
      if (!plan_.arrived_[static_cast<std::size_t>(t * slots + slot)] && terms_.expects(t, slot))
        return group_.poison(Status(
            StatusCode::kInvalidArgument,
            fmt::format("{}: no row came back to rank {} for its token {}, slot {}; expert_ids, "
                        "x_active_mask and experts must be those of the dispatch",
                        plan_.op_, rank_, t, slot)));
  }
  return {};
}

Status CombineRun::finish(std::int64_t begin, std::int64_t end) {
  WEFT_RETURN_IF_ERROR(check_arrived(begin, end));
  const Traced sum(plan_.options_.trace, TraceKind::kReduceNorm, begin);
  const std::int64_t bytes = plan_.wire_.bytes * std::max<std::int64_t>(1, terms_.slots());
  for_batches(*plan_.context_, end - begin, bytes, [&](std::int64_t i, int thread) {
    const std::int64_t t = begin + i;
    if (!terms_.active(t)) return;
    const void* const* const arrived = plan_.arrived_.data() + t * terms_.slots();
    TokenTerms token = terms_.of(t, arrived, plan_.scratch_.data() + thread * plan_.scratch_bytes_);
    token.store = store_;
    epilogue_.finish(token);
  });
  return {};
}

Status run_combine(Combine& plan, const MoeCombineArgs& args, const ConstTensorRef& expand_x,
                   const CombineEpilogue& epilogue) {
  return CombineRun(plan, args, expand_x, epilogue).run();
}

}  // namespace weft::ops
