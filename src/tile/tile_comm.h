// SPDX-License-Identifier: Apache-2.0
// Tiles through windows: which part of which rank's window (slot_ring.h) holds what, and who may
// read it when.
//
// A ring slot holds one super-block's partial sums of this rank (all tiles) and the reduced rows of
// the tile it owns. That it may be reused follows from the other waits too, with the order of
// stages in run.cc, but should not hang on them. A one-shot call has its one super-block in a half.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "comm/group_state.h"
#include "tile/grid.h"
#include "tile/slot_ring.h"
#include "weft/status.h"

namespace weft::tile {

/// Who needs which rows.
enum class Collective {
  kAllReduce,      ///< every rank needs the sum of all rows
  kReduceScatter,  ///< rank r needs the r-th part of the rows, of every rank: their sum, or each
  kAllGather,      ///< every rank needs all rows of every rank; no rank owns any
};

enum class Pattern {
  kRing,     ///< the owner of a tile adds its partials; all-reduce: and publishes the reduced rows
  kOneShot,  ///< few rows: every rank adds everybody's partials of the rows it needs; one
             ///< super-block
};

/// Where the rows of a rank begin in its ring slots. What is read together, rows of all ranks and
/// of the caller's tensors (most begin on a page), would otherwise lie at the same place of each
/// page: such streams get in each other's way in the memory
/// (docs/measurements/matmul_collectives.md). 17 is odd, so 64 ranks have a cache line of a page
/// each.
constexpr std::int64_t skew_bytes(int rank) { return (rank + 1) * 17 % 64 * kCacheLine; }
/// The same of the reduced rows, relative to those of the partials.
constexpr std::int64_t kReducedSkewBytes = 8 * kCacheLine;
constexpr std::int64_t kMostSkewBytes = 63 * kCacheLine + kReducedSkewBytes;  ///< of any rank

/// Sizes decided by the plan. Local; the same on every rank because it follows from what ranks
/// agree on.
struct Layout {
  /// Slots of a ring: one being computed, one being reduced, one being read (see run.cc).
  static constexpr int kSlots = SlotRing::kSlots;

  Collective collective;
  Pattern pattern;
  Grid grid;
  std::int64_t row_bytes;   ///< bytes between rows in a slot, whole cache lines
  std::int64_t slot_bytes;  ///< of one ring slot, or what is used of the one-shot half

  /// Picks super-blocks of at most wanted_rows such that kSlots fit the window.
  /// kInvalidArgument if not even one row per slot fits, naming the bytes and HCCL_BUFFSIZE.
  static Result<Layout> make(Collective collective, Pattern pattern, std::int64_t m, int ranks,
                             std::int64_t row_bytes, std::int64_t wanted_rows,
                             std::int64_t window_bytes);
  /// Bytes of the window that the layout touches.
  std::int64_t window_bytes_used() const;
};

/// The tiles of one call. Made anew for each run; holds no memory of its own.
class TileComm {
 public:
  /// `partials`: what error messages call them.
  TileComm(internal::GroupState& group, const Layout& layout,
           std::string_view partials = "the partial sums");

  int rank() const { return group_.rank(); }
  int ranks() const { return group_.ranks(); }
  const Grid& grid() const { return layout_.grid; }
  Collective collective() const { return layout_.collective; }
  std::int64_t row_bytes() const { return layout_.row_bytes; }

  /// Waits until the slot of super-block s may be overwritten: every peer has consumed its last
  /// content.
  Status acquire(std::int64_t s);
  /// Row `row` (of the whole problem) of rank's partial sums. The rows of a tile, and tiles of
  /// owners that follow each other, lie row_bytes() apart without gaps. Own: to be written between
  /// acquire and publish_partials. Others': to be read between wait_partials and consumed.
  std::byte* partial(std::int64_t s, int rank, std::int64_t row) const;
  void publish_partials(std::int64_t s);
  Status wait_partials(std::int64_t s);
  Status wait_partial(std::int64_t s, int peer);
  /// Row of the reduced tile that `owner` published for super-block s.
  std::byte* reduced(std::int64_t s, int owner, std::int64_t row) const;
  void publish_reduced(std::int64_t s);
  Status wait_reduced(std::int64_t s, int owner);
  /// This rank reads nothing of super-block s any more.
  void consumed(std::int64_t s);

 private:
  std::byte* slot(std::int64_t s, int rank) const;
  /// With a Link: tells it what leaves this rank, and waits for what comes in.
  void send(internal::CounterId id, std::uint64_t value, std::int64_t rows);
  Status receive(int peer, internal::CounterId id, std::uint64_t value,
                 const internal::WaitFor& what);

  internal::GroupState& group_;
  const Layout& layout_;
  SlotRing ring_;
  const std::string_view partials_;
  // Counters are monotonic over the life of the group: these are their values before this call.
  std::uint64_t partial_base_, reduced_base_;
};

}  // namespace weft::tile
