// SPDX-License-Identifier: Apache-2.0
// The ways in which a collective moves data through the windows. Every function of
// weft/collectives.h but the messages is one of them, some with most parts empty.
//
// Data travels in rows of one cache line, so that parts of any element type are cut alike.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/context_state.h"
#include "comm/group_state.h"
#include "comm/options.h"
#include "kernels/reduce/reduce.h"
#include "ops/collectives/reducer.h"
#include "ops/row_work.h"
#include "tile/tile_comm.h"
#include "weft/status.h"

namespace weft::ops {

/// A buffer as parts, one for each rank.
class Parts {
 public:
  /// Parts of the same size, one after the other.
  static Parts even(const void* data, std::int64_t bytes) { return {data, bytes, -1}; }
  /// One part; those of the other ranks are empty.
  static Parts only(int part, const void* data, std::int64_t bytes) { return {data, bytes, part}; }
  static Parts none() { return {nullptr, 0, -1}; }
  /// counts[q * step] elements at offsets[q]; without offsets one after the other.
  static Parts counted(const void* data, std::int64_t element_bytes, const std::int64_t* counts,
                       const std::int64_t* offsets, std::int64_t step = 1) {
    Parts parts(data, element_bytes, -1);
    parts.counts_ = counts;
    parts.offsets_ = offsets;
    parts.step_ = step;
    return parts;
  }

  std::int64_t bytes(int q) const {
    if (counts_) return counts_[q * step_] * unit_;
    return only_ < 0 || only_ == q ? unit_ : 0;
  }
  std::byte* at(int q) const { return data_ + offset(q); }
  /// The bytes of a part from `begin` on that lie before `end`.
  std::span<std::byte> slice(int q, std::int64_t begin, std::int64_t end) const {
    const std::int64_t last = std::min(end, bytes(q));
    if (begin >= last) return {};
    return {at(q) + begin, static_cast<std::size_t>(last - begin)};
  }

 private:
  // Parts that are only read come from const buffers; the engine writes those to receive into.
  Parts(const void* data, std::int64_t unit, int only)
      : data_(static_cast<std::byte*>(const_cast<void*>(data))), unit_(unit), only_(only) {}

  std::int64_t offset(int q) const {
    if (offsets_) return offsets_[q] * unit_;
    if (!counts_) return only_ < 0 ? q * unit_ : 0;
    std::int64_t before = 0;
    for (int i = 0; i < q; ++i) before += bytes(i);
    return before;
  }

  std::byte* data_;
  std::int64_t unit_;  // bytes of a part, or of an element if there are counts
  int only_;
  const std::int64_t* counts_ = nullptr;
  const std::int64_t* offsets_ = nullptr;
  std::int64_t step_ = 1;
};

// What a rank puts into its window at a time. Small enough that the slots of two ranks, and what is
// read and written meanwhile, stay in a second-level cache; large enough that a hand-off, about a
// microsecond, is little beside the copy.
inline constexpr std::int64_t kBlockBytes = 128 << 10;

// Up to this many bytes that a rank reads of others, saving a hand-off is worth more than splitting
// the work.
inline constexpr std::int64_t kOneShotBytes = 256 << 10;

/// One call on this rank, between begin_call and end_call. Each function checks the peers before it
/// reads anything of theirs.
class CollectiveRun {
 public:
  CollectiveRun(internal::ContextState& context, internal::GroupState& group)
      : context_(context), group_(group), copy_(reduction::select_copy(context.isa)) {}

  /// recv = reduction of all ranks' send, on all ranks.
  Status allreduce(const void* send, void* recv, std::int64_t bytes, const Reducer& reducer);
  /// Part q of `out` goes to rank q. Without a reducer, what rank r sends here becomes part r of
  /// `in`; with it, the reduction of what all ranks send here becomes part `rank()` of `in`. No
  /// part of any rank is longer than `longest`.
  Status exchange(const Parts& out, const Parts& in, std::int64_t longest, const Reducer* reducer);
  /// An exchange of which no rank knows more than its own lengths: those it has announced.
  Status exchange_announced(const Parts& out, const Parts& in, std::int64_t element_bytes,
                            std::string_view op);
  /// Rank r's `own` becomes part r of `in`, on all ranks; with a reducer, the reduction of all
  /// becomes part 0. None is longer than `longest`.
  Status gather(std::span<const std::byte> own, const Parts& in, std::int64_t longest,
                const Reducer* reducer = nullptr);

  // What these share.

  static constexpr std::int64_t kRow = kCacheLine;
  static constexpr std::string_view kData = "the data";  ///< that a wait is for

  internal::GroupState& group() const { return group_; }
  int rank() const { return group_.rank(); }
  int ranks() const { return group_.ranks(); }
  /// The i-th rank behind this one: ranks do not all begin with the same one.
  int after(int i) const { return (rank() + i) % ranks(); }

  /// One shot if a rank has no more than `read_bytes` to read of others.
  Result<tile::Layout> layout(tile::Collective collective, std::int64_t rows,
                              std::int64_t read_bytes, std::int64_t block_rows) const;
  /// Two stages for each block, one step apart: offer(s), and take(s) when the peers have been
  /// checked.
  template <typename Offer, typename Take>
  Status in_two_stages(tile::TileComm& tiles, const tile::Layout& layout, const Offer& offer,
                       const Take& take) {
    const std::int64_t blocks = tiles.grid().super_blocks();
    for (std::int64_t s = 0; s < blocks + 1; ++s) {
      if (s < blocks) WEFT_RETURN_IF_ERROR(offer(s));
      if (s == 1) WEFT_RETURN_IF_ERROR(group_.check_peers());
      if (s >= 1) WEFT_RETURN_IF_ERROR(take(s - 1));
      if (s >= 1 && layout.pattern == tile::Pattern::kRing) tiles.consumed(s - 1);
    }
    return {};
  }
  /// Copies source(rank) to bytes [begin, end) of part `rank` of `in`, for all ranks; those of
  /// others when they have published block s.
  template <typename Source>
  Status take_parts(tile::TileComm& tiles, std::int64_t s, const Parts& in, std::int64_t begin,
                    std::int64_t end, const Source& source, bool stream) {
    for (int i = 1; i <= ranks(); ++i) {
      const int from = after(i);
      const std::span<std::byte> to = in.slice(from, begin, end);
      if (to.empty()) continue;
      if (from != rank()) WEFT_RETURN_IF_ERROR(tiles.wait_partial(s, from));
      copy(source(from), to.data(), std::ssize(to), stream);
    }
    return {};
  }
  /// With all threads, as are reductions.
  void copy(const void* from, void* to, std::int64_t bytes, bool stream);
  /// `to` = reduction of this rank's `own` and what the others have in slot(rank).
  template <typename Slot>
  void reduce(const Reducer& reducer, const std::byte* own, const Slot& slot,
              std::span<std::byte> to, bool stream) {
    for_pieces(std::ssize(to), [&](std::int64_t at, std::int64_t size) {
      const void* src[internal::kMaxRanks];
      // This rank's own elements come from its buffer: they need not be in its window.
      for (int r = 0; r < ranks(); ++r) src[r] = (r == rank() ? own : slot(r)) + at;
      reducer(src, ranks(), size, to.data() + at, stream);
      if (stream) reduction::stream_fence();
    });
  }

 private:
  /// Calls body(begin, bytes) for as many pieces of [0, bytes) as there are threads.
  template <typename Body>
  void for_pieces(std::int64_t bytes, const Body& body) {
    const std::int64_t share = ceil_div(bytes, std::int64_t{context_.pool.threads()});
    const std::int64_t piece = std::max(kPieceBytes, round_up(share, kRow));
    const auto one = [&](std::int64_t i, int) {
      body(i * piece, std::min(piece, bytes - i * piece));
    };
    context_.pool.parallel_for(ceil_div(bytes, piece), one, ns_of_bytes(bytes));
  }

  Status check_announced(std::string_view op);
  std::int64_t longest_announced() const;
  /// Bytes of rank's parts before part `to` when they lie one after the other, its own left out.
  std::int64_t announced_bytes(int rank, int to, std::int64_t element_bytes) const;

  internal::ContextState& context_;
  internal::GroupState& group_;
  const reduction::CopyFn copy_;
};

}  // namespace weft::ops
