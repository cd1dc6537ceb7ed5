// SPDX-License-Identifier: Apache-2.0
#include "tile/row_exchange.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/memory.h"

namespace weft::tile {

using internal::CounterId;

namespace {

std::int64_t labels_offset(int ranks) {
  return round_up((ranks + 1) * static_cast<std::int64_t>(sizeof(std::uint32_t)), kCacheLine);
}
std::int64_t rows_offset(int ranks, std::int64_t labels) {
  return labels_offset(ranks) +
         round_up(labels * static_cast<std::int64_t>(sizeof(RowLabel)), kCacheLine);
}

}  // namespace

std::int64_t RowPiece::bytes(int ranks, std::int64_t labels, std::int64_t rows,
                             std::int64_t row_bytes) {
  return rows_offset(ranks, labels) + rows * row_bytes;
}

void RowPiece::lay_out(std::span<const std::int64_t> labels) {
  std::uint32_t before = 0;
  for (std::size_t rank = 0; rank < labels.size(); ++rank) {
    begin_[rank] = before;
    before += static_cast<std::uint32_t>(labels[rank]);
  }
  begin_[labels.size()] = before;
}

RowLabel* RowPiece::first_label() const {
  auto* const memory = reinterpret_cast<std::byte*>(begin_);
  return reinterpret_cast<RowLabel*>(memory + labels_offset(ranks_));
}

std::span<RowLabel> RowPiece::labels(int rank) const {
  return {first_label() + begin_[rank], begin_[rank + 1] - begin_[rank]};
}

std::byte* RowPiece::row(std::int64_t i) const {
  return reinterpret_cast<std::byte*>(begin_) + rows_offset(ranks_, begin_[ranks_]) +
         i * row_bytes_;
}

Result<RowLayout> RowLayout::make(std::int64_t head_bytes, std::int64_t row_bytes,
                                  std::int64_t least_rows, int ranks, std::int64_t window_bytes) {
  const std::int64_t head = round_up(head_bytes, kCacheLine);
  const std::int64_t least = RowPiece::bytes(ranks, least_rows, least_rows, row_bytes);
  const std::int64_t least_half = head + RowPiece::bytes(ranks, 0, 0, row_bytes);
  if (SlotRing::most_slot_bytes(window_bytes) < least ||
      one_shot_bytes(window_bytes) < least_half) {
    // Slots have three quarters of a small window, all but the halves of a large one; a half an
    // eighth of a small one.
    constexpr std::int64_t kMiB = 1 << 20;
    const std::int64_t ring = SlotRing::kSlots * round_up(least, 4096);
    const std::int64_t enough =
        std::max(std::min(ring / 3 * 4, ring + 8 * kMiB), 8 * round_up(least_half, 4096));
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("the window of {} bytes per rank is too small for {} rows of {} bytes of one "
                    "token and {} bytes of counts; set HCCL_BUFFSIZE or GroupOptions::window_bytes "
                    "to at least {} MB",
                    window_bytes, least_rows, row_bytes, head_bytes, ceil_div(enough, kMiB)));
  }
  const std::int64_t slot =
      std::min(SlotRing::most_slot_bytes(window_bytes), std::max(least, kPieceBytes));
  return RowLayout{row_bytes, head, one_shot_bytes(window_bytes) - head, round_up(slot, 4096)};
}

RowExchange::RowExchange(internal::GroupState& group, const RowLayout& layout)
    : group_(group),
      layout_(layout),
      call_(this_call(group) + 1),
      ring_(group, layout.slot_bytes),
      published_(group.own(CounterId::kPartial)) {}

void RowExchange::publish(std::int64_t s) {
  group_.publish(CounterId::kPartial, published_ + static_cast<std::uint64_t>(s) + 1);
}

Status RowExchange::wait(std::int64_t s, int peer) {
  return group_.wait(peer, CounterId::kPartial, published_ + static_cast<std::uint64_t>(s) + 1,
                     {"the rows", s});
}

}  // namespace weft::tile
