// SPDX-License-Identifier: Apache-2.0
#include "tile/slot_ring.h"

namespace weft::tile {

using internal::CounterId;

std::byte* one_shot_half(const internal::GroupState& group, int rank, std::uint64_t call) {
  return group.window(rank) +
         static_cast<std::int64_t>(call & 1) * one_shot_bytes(group.window_bytes());
}

std::uint64_t this_call(const internal::GroupState& group) { return group.own(CounterId::kCall); }

SlotRing::SlotRing(internal::GroupState& group, std::int64_t slot_bytes)
    : group_(group),
      offset_(ring_offset(group.window_bytes())),
      slot_bytes_(slot_bytes),
      base_(group.own(CounterId::kConsumed)) {}

Status SlotRing::acquire(std::int64_t s) {
  // Calls may cut their rings differently, so the first slots of a call wait for all of the call
  // before.
  const std::uint64_t reusable = s < kSlots ? 0 : static_cast<std::uint64_t>(s - kSlots + 1);
  return group_.wait_all(CounterId::kConsumed, base_ + reusable, {"a free slot", s});
}

void SlotRing::consumed(std::int64_t s) {
  group_.publish(CounterId::kConsumed, base_ + static_cast<std::uint64_t>(s) + 1);
}

}  // namespace weft::tile
