// SPDX-License-Identifier: Apache-2.0
#include "tile/tile_comm.h"

#include <fmt/core.h>

#include <algorithm>

namespace weft::tile {

using internal::CounterId;

namespace {

Layout layout_of(Collective collective, Pattern pattern, std::int64_t m, int ranks,
                 std::int64_t row_bytes, std::int64_t rows) {
  const Deal deal = collective == Collective::kReduceScatter ? Deal::kByRank : Deal::kWithinBlocks;
  const int owners = collective == Collective::kAllGather ? 1 : ranks;
  Layout layout{collective, pattern, Grid(deal, m, owners, rows), row_bytes, 0};
  const bool publishes_sums = collective == Collective::kAllReduce && pattern == Pattern::kRing;
  const std::int64_t slot_rows =
      layout.grid.max_super_block_rows() + (publishes_sums ? layout.grid.max_tile_rows() : 0);
  const std::int64_t skew = pattern == Pattern::kOneShot ? 0 : kMostSkewBytes;
  layout.slot_bytes = round_up(slot_rows * row_bytes + skew, 4096);
  return layout;
}

}  // namespace

Result<Layout> Layout::make(Collective collective, Pattern pattern, std::int64_t m, int ranks,
                            std::int64_t row_bytes, std::int64_t wanted_rows,
                            std::int64_t window_bytes) {
  const std::int64_t all = std::max<std::int64_t>(m, 1);
  if (pattern == Pattern::kOneShot) return layout_of(collective, pattern, m, ranks, row_bytes, all);
  for (std::int64_t rows = std::min(wanted_rows, all); rows >= 1;
       rows = rows == 1 ? 0 : ceil_div(rows, 2)) {
    const Layout layout = layout_of(collective, pattern, m, ranks, row_bytes, rows);
    if (layout.slot_bytes <= SlotRing::most_slot_bytes(window_bytes)) return layout;
  }
  const Layout smallest = layout_of(collective, pattern, m, ranks, row_bytes, 1);
  std::int64_t least = std::int64_t{1} << 20;
  while (SlotRing::most_slot_bytes(least) < smallest.slot_bytes) least += std::int64_t{1} << 20;
  return Status(
      StatusCode::kInvalidArgument,
      fmt::format("the window of {} bytes per rank is too small for rows of {} bytes; set "
                  "HCCL_BUFFSIZE or GroupOptions::window_bytes to at least {} MB",
                  window_bytes, row_bytes, least >> 20));
}

std::int64_t Layout::window_bytes_used() const {
  return pattern == Pattern::kOneShot
             ? 2 * slot_bytes
             : std::min<std::int64_t>(kSlots, grid.super_blocks()) * slot_bytes;
}

TileComm::TileComm(internal::GroupState& group, const Layout& layout, std::string_view partials)
    : group_(group),
      layout_(layout),
      ring_(group, layout.slot_bytes),
      partials_(partials),
      partial_base_(group.own(CounterId::kPartial)),
      reduced_base_(group.own(CounterId::kReduced)) {}

std::byte* TileComm::slot(std::int64_t s, int rank) const {
  if (layout_.pattern == Pattern::kOneShot) return one_shot_half(group_, rank, this_call(group_));
  return ring_.slot(s, rank) + skew_bytes(rank);
}

Status TileComm::acquire(std::int64_t s) {
  return layout_.pattern == Pattern::kOneShot ? Status() : ring_.acquire(s);
}

std::byte* TileComm::partial(std::int64_t s, int rank, std::int64_t row) const {
  return slot(s, rank) + grid().place(s, row) * layout_.row_bytes;
}

void TileComm::send(CounterId id, std::uint64_t value, std::int64_t rows) {
  if (internal::Link* link = group_.link()) link->send(rank(), id, value, rows * row_bytes());
  group_.publish(id, value);
}

Status TileComm::receive(int peer, CounterId id, std::uint64_t value,
                         const internal::WaitFor& what) {
  WEFT_RETURN_IF_ERROR(group_.wait(peer, id, value, what));
  if (internal::Link* link = group_.link()) link->receive(peer, id, value);
  return {};
}

void TileComm::publish_partials(std::int64_t s) {
  std::int64_t rows = 0;  // that others read: their tiles, or all of them all
  const bool gather = collective() == Collective::kAllGather;
  const bool whole =
      gather || (layout_.pattern == Pattern::kOneShot && collective() == Collective::kAllReduce);
  for (int owner = 0; owner < (gather ? 1 : ranks()); ++owner) {
    const std::int64_t tile = grid().tile(s, owner).count();
    if (whole)
      rows += tile * (ranks() - 1);
    else if (owner != rank())
      rows += tile;
  }
  send(CounterId::kPartial, partial_base_ + static_cast<std::uint64_t>(s) + 1, rows);
}

Status TileComm::wait_partials(std::int64_t s) {
  for (int i = 1; i < ranks(); ++i) WEFT_RETURN_IF_ERROR(wait_partial(s, (rank() + i) % ranks()));
  return {};
}

Status TileComm::wait_partial(std::int64_t s, int peer) {
  return receive(peer, CounterId::kPartial, partial_base_ + static_cast<std::uint64_t>(s) + 1,
                 {partials_, s});
}

std::byte* TileComm::reduced(std::int64_t s, int owner, std::int64_t row) const {
  return slot(s, owner) + grid().max_super_block_rows() * layout_.row_bytes + kReducedSkewBytes +
         (row - grid().tile(s, owner).begin) * layout_.row_bytes;
}

void TileComm::publish_reduced(std::int64_t s) {
  send(CounterId::kReduced, reduced_base_ + static_cast<std::uint64_t>(s) + 1,
       grid().tile(s, rank()).count() * (ranks() - 1));
}

Status TileComm::wait_reduced(std::int64_t s, int owner) {
  return receive(owner, CounterId::kReduced, reduced_base_ + static_cast<std::uint64_t>(s) + 1,
                 {"the reduced rows", s});
}

void TileComm::consumed(std::int64_t s) { ring_.consumed(s); }

}  // namespace weft::tile
