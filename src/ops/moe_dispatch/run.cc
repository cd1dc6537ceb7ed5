// SPDX-License-Identifier: Apache-2.0
// The way of a row: its source stages it once, whoever needs it; every rank that does copies it
// from there to all its places. Exact counts come first, so a row's place is known when it arrives.
//
// With few rows they are in the window before the call is entered, and the ranks meet once. With
// more they come in pieces, in two stages, one step apart: a rank has staged piece s; has taken
// piece s - 1 of all others.

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "ops/moe_dispatch/plan.h"
#include "ops/moe_routing/agreement.h"
#include "ops/row_work.h"
#include "ops/traced.h"

namespace weft::ops {
namespace {

using internal::MoeDispatchPlan;
using tile::RowLabel;
using tile::RowPiece;

// What a label says.
enum What { kLocal, kToken, kSlot };

class DispatchRun {
 public:
  DispatchRun(MoeDispatchPlan& plan, const MoeDispatchArgs& args)
      : plan_(plan),
        args_(args),
        placement_(plan.placement),
        rank_(plan.group.rank()),
        ranks_(plan.group.ranks()),
        exchange_(plan.group, plan.layout),
        x_rows_(args.x, 1),
        scale_rows_(args.scales, args.scales.given() ? 1 : 0),
        expand_rows_(args.expand_x, 1),
        assist_(static_cast<std::int32_t*>(args.assist_info_for_combine.data())) {}

  Status run() {
    plan_.routing.route(args_.expert_ids, args_.x_active_mask);
    std::ranges::fill(plan_.sent, 0);
    write_head();
    WEFT_RETURN_IF_ERROR(begin_and_check(plan_.group, plan_.header, plan_.options.trace));
    if (Status full = check_capacities(); !full.ok()) {
      // All ranks have read the same numbers, so all leave the call here.
      plan_.group.end_call();
      return full;
    }
    place_rows();
    place_own_rows();
    for (int i = 1; i < ranks_; ++i) take_half((rank_ + i) % ranks_);
    WEFT_RETURN_IF_ERROR(exchange_pieces());
    plan_.group.end_call();
    return {};
  }

 private:
  // --- sending ---

  DispatchHead& head(int rank) const {
    return *reinterpret_cast<DispatchHead*>(exchange_.head(rank));
  }
  std::uint32_t* rows_at(int rank) const {
    return reinterpret_cast<std::uint32_t*>(&head(rank) + 1);
  }
  void write_head();
  void stage(RowPiece piece, std::int64_t end);
  std::uint32_t staged_row(Entry entry, std::int64_t place);
  void write_row(const StagedRow& row, std::byte* to, float* scale, rows::Store store) const;

  // --- receiving ---

  /// Rows of a rank's tokens for the experts of another.
  std::int64_t rows_of(int source, int rank) const;
  Status check_capacities() const;
  void place_rows();
  std::int64_t next_row(std::int64_t local, int source, std::int32_t token, std::int32_t slot);
  void place_own_rows();
  void take_half(int source) {
    if (head(source).pieces == 0 && rows_of(source, rank_) > 0)
      take(exchange_.half_piece(source), source, -1);
  }
  void take(RowPiece piece, int source, std::int64_t s);
  void copy_arrived();
  void copy_row(const std::byte* from, std::int64_t j) const;
  const std::byte* quantised(std::int32_t token) const;
  Status exchange_pieces();

  std::byte* expand_row(std::int64_t j) const {
    return static_cast<std::byte*>(args_.expand_x.data()) + expand_rows_[j];
  }
  float* scale_of(std::int64_t j) const {
    return static_cast<float*>(args_.dynamic_scales.data()) + j;
  }
  template <typename Body>
  void for_rows(std::int64_t rows, const Body& body) const {
    for_batches(plan_.context, rows, plan_.layout.row_bytes,
                [&](std::int64_t row, int) { body(row); });
  }

  MoeDispatchPlan& plan_;
  const MoeDispatchArgs& args_;
  const Placement& placement_;
  const int rank_, ranks_;
  tile::RowExchange exchange_;
  const RowOffsets x_rows_, scale_rows_, expand_rows_;
  std::int32_t* const assist_;
  rows::Store store_ = rows::Store::kPlain;
};

// The counts of all places, and if they fit, all rows.
void DispatchRun::write_head() {
  const auto tokens = static_cast<std::int64_t>(plan_.row_of.size());
  std::int64_t labels = 0, most = 0;
  for (int q = 0; q < ranks_; ++q) {
    std::int64_t rows = 0;
    for (std::int64_t p = placement_.first_place(q); p < placement_.first_place(q + 1); ++p) {
      const std::size_t here = plan_.routing.at(p).size();
      rows_at(rank_)[p] = static_cast<std::uint32_t>(here);
      rows += static_cast<std::int64_t>(here);
    }
    most = std::max(most, rows);
    if (q != rank_) labels += rows;
  }
  const std::int64_t staged = args_.scales.given() ? labels : std::min(labels, tokens);
  const bool fits =
      RowPiece::bytes(ranks_, labels, staged, plan_.layout.row_bytes) <= plan_.layout.half_bytes;
  head(rank_) = {.pieces = fits ? 0 : ceil_div(tokens, plan_.piece_tokens),
                 .capacity = args_.expand_x.dim(0),
                 .most = most};
  if (!fits) return;
  const Traced publish(plan_.options.trace, TraceKind::kPublish, -1);
  stage(exchange_.half_piece(rank_), tokens);
}

// The rows of tokens before `end` that were not staged yet.
void DispatchRun::stage(RowPiece piece, std::int64_t end) {
  const auto pending = [&](std::int64_t place) {
    const std::span<const Entry> all =
        plan_.routing.at(place).subspan(plan_.sent[static_cast<std::size_t>(place)]);
    const auto last =
        std::ranges::partition_point(all, [&](const Entry& e) { return e.token < end; });
    return all.first(static_cast<std::size_t>(last - all.begin()));
  };
  for (int q = 0; q < ranks_; ++q) {
    std::int64_t& labels = plan_.labels[static_cast<std::size_t>(q)];
    labels = 0;
    if (q == rank_) continue;
    for (std::int64_t p = placement_.first_place(q); p < placement_.first_place(q + 1); ++p)
      labels += std::ssize(pending(p));
  }
  piece.lay_out(plan_.labels);
  std::ranges::fill(plan_.row_of, -1);
  plan_.staged.clear();
  for (int q = 0; q < ranks_; ++q) {
    if (q == rank_) continue;
    RowLabel* label = piece.labels(q).data();
    const std::int64_t first = placement_.first_place(q);
    for (std::int64_t p = first; p < placement_.first_place(q + 1); ++p) {
      const std::span<const Entry> entries = pending(p);
      for (const Entry& e : entries)
        *label++ = {staged_row(e, p), {static_cast<std::int32_t>(p - first), e.token, e.slot}};
      plan_.sent[static_cast<std::size_t>(p)] += entries.size();
    }
  }
  for_rows(std::ssize(plan_.staged), [&](std::int64_t i) {
    std::byte* const to = piece.row(i);
    auto* const scale = reinterpret_cast<float*>(to + plan_.wire.scale_offset);
    write_row(plan_.staged[static_cast<std::size_t>(i)], to, scale, rows::Store::kPlain);
  });
}

// One row for all experts of a token, unless each multiplies it with factors of its own.
std::uint32_t DispatchRun::staged_row(Entry entry, std::int64_t place) {
  std::int32_t& row = plan_.row_of[static_cast<std::size_t>(entry.token)];
  if (row < 0 || args_.scales.given()) {
    row = static_cast<std::int32_t>(plan_.staged.size());
    plan_.staged.push_back({entry.token, place});
  }
  return static_cast<std::uint32_t>(row);
}

void DispatchRun::write_row(const StagedRow& row, std::byte* to, float* scale,
                            rows::Store store) const {
  const std::byte* const from = static_cast<const std::byte*>(args_.x.data()) + x_rows_[row.token];
  if (plan_.wire.scale_offset < 0) {
    plan_.copy(from, to, plan_.wire.row_bytes, store == rows::Store::kStream);
    return;
  }
  rows::QuantizeRow quantize{};
  quantize.src = from;
  quantize.n = plan_.wire.row_bytes;
  if (args_.scales.given())
    quantize.smooth =
        reinterpret_cast<const float*>(static_cast<const std::byte*>(args_.scales.data()) +
                                       scale_rows_[placement_.scale_row(row.place)]);
  quantize.dst = to;
  quantize.scale = scale;
  quantize.store = store;
  plan_.rows.quantize_row(quantize);
}

std::int64_t DispatchRun::rows_of(int source, int rank) const {
  const std::uint32_t* const rows = rows_at(source);
  return std::accumulate(rows + placement_.first_place(rank),
                         rows + placement_.first_place(rank + 1), std::int64_t{0});
}

// Every rank looks at all ranks, so that all find the same one. Buffers for the worst case need one
// look at each.
Status DispatchRun::check_capacities() const {
  std::int64_t bound = 0, least = head(0).capacity;
  for (int q = 0; q < ranks_; ++q) {
    bound += head(q).most;
    least = std::min(least, head(q).capacity);
  }
  for (int q = 0; bound > least && q < ranks_; ++q) {
    std::int64_t rows = 0;
    for (int s = 0; s < ranks_; ++s) rows += rows_of(s, q);
    if (rows > head(q).capacity)
      return Status(
          StatusCode::kInvalidArgument,
          fmt::format("{}: {} rows arrive at rank {}, whose expand_x takes {}; give it an "
                      "expand_x with at least as many rows",
                      kMoeDispatch, rows, q, head(q).capacity));
  }
  return {};
}

// Where the rows of each local expert and source go.
void DispatchRun::place_rows() {
  const std::int64_t first = placement_.first_place(rank_);
  auto* const counts = static_cast<std::int32_t*>(args_.ep_recv_counts.data());
  auto* const nums = static_cast<std::int64_t*>(args_.expert_token_nums.data());
  std::int64_t rows = 0;
  for (std::int64_t local = 0; local < placement_.local_places(rank_); ++local) {
    const std::int64_t before = rows;
    for (int s = 0; s < ranks_; ++s) {
      const std::int64_t i = local * ranks_ + s;
      plan_.next[static_cast<std::size_t>(i)] = rows;
      rows += rows_at(s)[first + local];
      counts[i] = static_cast<std::int32_t>(rows);
    }
    nums[local] = args_.tokens_are_ends ? rows : rows - before;
  }
  // What does not fit a cache goes past it.
  if (rows * plan_.wire.row_bytes >= kStreamBytes) store_ = rows::Store::kStream;
}

std::int64_t DispatchRun::next_row(std::int64_t local, int source, std::int32_t token,
                                   std::int32_t slot) {
  const std::int64_t j = plan_.next[static_cast<std::size_t>(local * ranks_ + source)]++;
  if (assist_) {
    assist_[3 * j] = source;
    assist_[3 * j + 1] = token;
    assist_[3 * j + 2] = slot;
  }
  return j;
}

// Straight from x, but a token is quantised once.
void DispatchRun::place_own_rows() {
  const Traced copy(plan_.options.trace, TraceKind::kCopy, -1, rank_);
  const std::int64_t first = placement_.first_place(rank_);
  for (std::int64_t local = 0; local < placement_.local_places(rank_); ++local) {
    const std::span<const Entry> entries = plan_.routing.at(first + local);
    if (entries.empty()) continue;
    const std::int64_t begin = plan_.next[static_cast<std::size_t>(local * ranks_ + rank_)];
    for (const Entry& e : entries) next_row(local, rank_, e.token, e.slot);
    for_rows(std::ssize(entries), [&](std::int64_t i) {
      const std::int64_t j = begin + i;
      const std::int32_t token = entries[static_cast<std::size_t>(i)].token;
      if (const std::byte* const staged = quantised(token))
        copy_row(staged, j);
      else
        write_row({token, first + local}, expand_row(j), scale_of(j), store_);
    });
  }
}

void DispatchRun::take(RowPiece piece, int source, std::int64_t s) {
  const Traced copy(plan_.options.trace, TraceKind::kCopy, s, source);
  for (const RowLabel& label : piece.labels(rank_)) {
    const std::int64_t j =
        next_row(label.what[kLocal], source, label.what[kToken], label.what[kSlot]);
    plan_.arrived.push_back({piece.row(label.row), j});
    if (std::ssize(plan_.arrived) == kArrivedBatch) copy_arrived();
  }
  copy_arrived();
}

void DispatchRun::copy_arrived() {
  for_rows(std::ssize(plan_.arrived), [&](std::int64_t i) {
    const ArrivedRow& row = plan_.arrived[static_cast<std::size_t>(i)];
    copy_row(row.from, row.to);
  });
  plan_.arrived.clear();
}

void DispatchRun::copy_row(const std::byte* from, std::int64_t j) const {
  plan_.copy(from, expand_row(j), plan_.wire.row_bytes, store_ == rows::Store::kStream);
  if (plan_.wire.scale_offset >= 0)
    std::memcpy(scale_of(j), from + plan_.wire.scale_offset, sizeof(float));
}

// Null if the token is not in the half with the scale that all its experts have.
const std::byte* DispatchRun::quantised(std::int32_t token) const {
  const std::int32_t row = plan_.row_of[static_cast<std::size_t>(token)];
  const bool staged = head(rank_).pieces == 0 && row >= 0;
  if (!staged || plan_.wire.scale_offset < 0 || args_.scales.given()) return nullptr;
  return exchange_.half_piece(rank_).row(row);
}

Status DispatchRun::exchange_pieces() {
  std::int64_t pieces = 0;
  for (int q = 0; q < ranks_; ++q) pieces = std::max(pieces, head(q).pieces);
  for (std::int64_t s = 0; s <= pieces && pieces > 0; ++s) {
    if (s < head(rank_).pieces) {
      WEFT_RETURN_IF_ERROR(exchange_.acquire(s));
      const Traced publish(plan_.options.trace, TraceKind::kPublish, s);
      stage(exchange_.piece(s, rank_), (s + 1) * plan_.piece_tokens);
    }
    if (s < pieces) exchange_.publish(s);
    if (s == 0) continue;
    for (int i = 1; i < ranks_; ++i) {
      const int source = (rank_ + i) % ranks_;
      if (s - 1 >= head(source).pieces) continue;
      {
        const Traced wait(plan_.options.trace, TraceKind::kWait, s - 1, source);
        WEFT_RETURN_IF_ERROR(exchange_.wait(s - 1, source));
      }
      take(exchange_.piece(s - 1, source), source, s - 1);
    }
    exchange_.consumed(s - 1);
  }
  return {};
}

}  // namespace

Status run_dispatch(MoeDispatchPlan& plan, const MoeDispatchArgs& args) {
  return DispatchRun(plan, args).run();
}

}  // namespace weft::ops
