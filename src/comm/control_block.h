// SPDX-License-Identifier: Apache-2.0
// What the segment of a rank looks like, for every transport: control block, what it keeps for each
// peer, the window, the mail slots.
//
// Everything here may be mapped by processes that die at any instruction, so nothing is ever
// locked: a field is either one atomic, or plain bytes that a later release store makes valid.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/memory.h"
#include "comm/group_state.h"
#include "comm/options.h"

namespace weft::internal {

/// On a line of its own, because its readers spin on it.
struct alignas(kCacheLine) Counter {
  std::atomic<std::uint64_t> value{0};
  /// Ranks asleep on `value`; the publisher makes no system call while it is 0. A rank that dies
  /// asleep leaves it raised, which costs its group, lost anyway, a few needless wake-ups.
  std::atomic<std::uint32_t> waiters{0};

  /// The kernel compares 32 bits: the low half of value. A sleeper would have to miss 2^32 steps
  /// within one slice to be fooled.
  const void* futex_word() const { return &value; }
};
static_assert(std::endian::native == std::endian::little, "futex_word is the low half of value");
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "counters are shared by processes");

struct ControlBlock {
  Counter counters[static_cast<int>(CounterId::kCount)];

  /// Where this rank sleeps while it talks to single peers: each rings when it has done something
  /// and `waiters` is not 0. The value only has to change.
  Counter bell;

  /// Last call this rank has completed, and whether it has left in order. Read when something is
  /// wrong or late.
  alignas(kCacheLine) std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint32_t> left{0};

  /// What this rank sleeps on, for the text of a peer's timeout only: rank + 1 (0: nothing), then
  /// the counter and the value it must reach.
  alignas(kCacheLine) std::atomic<std::int32_t> waiting_for{0};
  std::atomic<std::int32_t> waiting_counter{0};
  std::atomic<std::uint64_t> waiting_value{0};

  /// Of rank 0's block only: rank + 1 of the rank whose poison is in force, 0 while there is none.
  /// One word for the whole group, set by compare-and-swap, so every rank reports the same cause.
  alignas(kCacheLine) std::atomic<std::int32_t> poisoned_by{0};

  /// This rank's poison: complete before poisoned_by can name this rank.
  alignas(kCacheLine) std::int32_t poison_code = 0;
  char poison_text[1020] = {};

  /// Header of call c is in [c % 2]. A rank enters call c after check_peers of c - 1, when all
  /// peers had entered c - 1 and so no longer read the header of c - 2.
  alignas(kCacheLine) CallHeader headers[2] = {CallHeader(""), CallHeader("")};
};

/// What a rank keeps for one peer; written by the owner of the segment alone.
struct alignas(kCacheLine) PairBlock {
  static constexpr int kSlots = 2;  ///< one being filled, one being emptied

  /// Pieces of messages that the owner has put into its mail slots for the peer. Piece p (from 0)
  /// is in slot p % kSlots, its header in headers[p % kSlots].
  std::atomic<std::uint64_t> sent{0};
  MailHeader headers[kSlots] = {};
  /// Pieces of the peer's that the owner has taken, whose slots are free again.
  alignas(kCacheLine) std::atomic<std::uint64_t> taken{0};
  /// What the owner announced for call c is in [c % 2], like the header of the call.
  CallCounts counts[2] = {};
};

/// Offsets within a segment. The window starts on a huge page of its own and ends on one, so that
/// the kernel can use huge pages for all of it (few ranks); untouched pages cost address space
/// only.
struct SegmentLayout {
  static constexpr std::int64_t kPairsOffset = 1 << 20;
  static constexpr std::int64_t kWindowOffset = kHugePage;
  std::int64_t window_bytes;
  int ranks;
  /// Many ranks share little with each other at a time, and two MiB for each would be gigabytes.
  constexpr bool wants_huge_pages() const { return ranks <= 32; }
  constexpr std::int64_t window_room() const { return round_up(window_bytes, kHugePage); }
  constexpr std::int64_t mail_offset() const { return kWindowOffset + window_room(); }
  /// Half a MiB takes some 50 us to copy, beside which a hand-off is little. With many ranks less,
  /// so that all slots of a rank need no more than 32 MiB of addresses.
  constexpr std::int64_t mail_slot_bytes() const {
    const std::int64_t share = (32 << 20) / PairBlock::kSlots / ranks / 4096 * 4096;
    return share < (512 << 10) ? share : 512 << 10;
  }
  constexpr std::int64_t total_bytes() const {
    return mail_offset() + ranks * PairBlock::kSlots * mail_slot_bytes();
  }
};
static_assert(sizeof(ControlBlock) <= SegmentLayout::kPairsOffset);
static_assert(SegmentLayout::kPairsOffset + kMaxRanks * sizeof(PairBlock) <=
              SegmentLayout::kWindowOffset);
static_assert(SegmentLayout{0, kMaxRanks}.mail_slot_bytes() >= 4096);

}  // namespace weft::internal
