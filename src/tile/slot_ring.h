// SPDX-License-Identifier: Apache-2.0
// How every rank's window is cut, and who may overwrite what when:
//
//   [one-shot, even calls][one-shot, odd calls][ring slot 0][ring slot 1] …
//
// A call uses the one-shot half of its parity: when this rank is about to enter call c, every peer
// has entered call c - 1 and so has finished call c - 2. A ring slot is reused once every rank has
// consumed what was in it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "comm/group_state.h"
#include "weft/status.h"

namespace weft::tile {

/// Bytes of a one-shot half: at most 4 MiB, and of small windows an eighth, in whole pages.
constexpr std::int64_t one_shot_bytes(std::int64_t window_bytes) {
  constexpr std::int64_t kMost = 4 << 20;
  return std::min(kMost, window_bytes / 8 / 4096 * 4096);
}
/// Where the ring begins.
constexpr std::int64_t ring_offset(std::int64_t window_bytes) {
  return 2 * one_shot_bytes(window_bytes);
}

/// The half of a rank's window for call number `call` of the group.
std::byte* one_shot_half(const internal::GroupState& group, int rank, std::uint64_t call);
/// The number of the call that runs.
std::uint64_t this_call(const internal::GroupState& group);

/// The slots of one call, counted from its start. Made anew for each run; holds no memory of its
/// own.
class SlotRing {
 public:
  /// One being written, one being read, and one of which a rank that is behind still reads: a rank
  /// waits for a slot only if a peer is more than about one step behind.
  static constexpr int kSlots = 3;
  /// The longest slots that a window has room for.
  static constexpr std::int64_t most_slot_bytes(std::int64_t window_bytes) {
    return (window_bytes - ring_offset(window_bytes)) / kSlots / 4096 * 4096;
  }

  SlotRing(internal::GroupState& group, std::int64_t slot_bytes);

  std::byte* slot(std::int64_t s, int rank) const {
    return group_.window(rank) + offset_ + s % kSlots * slot_bytes_;
  }
  /// Waits until the own slot s may be overwritten: every peer has consumed its last content.
  Status acquire(std::int64_t s);
  /// This rank reads nothing of any rank's slot s any more.
  void consumed(std::int64_t s);

 private:
  internal::GroupState& group_;
  const std::int64_t offset_, slot_bytes_;
  const std::uint64_t base_;  // of the counter, which only rises over the life of the group
};

}  // namespace weft::tile
