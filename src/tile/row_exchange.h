// SPDX-License-Identifier: Apache-2.0
// Rows through windows whose number, and who needs which, is known only when the call runs: what
// experts get and return. Beside TileComm, which moves tiles whose place follows from their number.
//
// A rank puts rows into a piece of its window, with a directory: for each rank the labels of the
// rows that it needs. A row lies there once, however many labels name it. Few rows make one piece,
// in the one-shot half behind a head of the operator's own; they are published by entering the
// call. Many make pieces in the slots of the ring:
//
//   half:  [head][piece]          piece:  [first label of each rank][labels][rows]
//   slot:  [piece]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/group_state.h"
#include "tile/slot_ring.h"
#include "weft/status.h"

namespace weft::tile {

/// What a rank has to know of a row beside its elements. The operator knows the meaning of what.
struct RowLabel {
  std::uint32_t row;  ///< within the piece
  std::int32_t what[3];
};

/// A view of one piece in somebody's window.
class RowPiece {
 public:
  RowPiece(std::byte* memory, int ranks, std::int64_t row_bytes)
      : begin_(reinterpret_cast<std::uint32_t*>(memory)), ranks_(ranks), row_bytes_(row_bytes) {}
  static std::int64_t bytes(int ranks, std::int64_t labels, std::int64_t rows,
                            std::int64_t row_bytes);

  /// Makes room for the labels of each rank; before anything else is written.
  void lay_out(std::span<const std::int64_t> labels);
  /// Of the rows that `rank` needs.
  std::span<RowLabel> labels(int rank) const;
  /// row_bytes of memory, on a cache line.
  std::byte* row(std::int64_t i) const;

 private:
  RowLabel* first_label() const;

  std::uint32_t* begin_;  // one for each rank, and where the last one's labels end
  int ranks_;
  std::int64_t row_bytes_;
};

/// Sizes decided by the plan; the same on every rank, because it follows from what ranks agree on.
struct RowLayout {
  /// Pieces in the ring are no longer than this if a token's rows fit: long enough that a hand-off
  /// between many ranks is little beside them, short enough that what one rank has written is still
  /// in a cache when another reads it. See docs/measurements/moe.md.
  static constexpr std::int64_t kPieceBytes = 2 << 20;

  std::int64_t row_bytes;   ///< whole cache lines
  std::int64_t head_bytes;  ///< whole cache lines
  std::int64_t half_bytes;  ///< room for the piece behind the head
  std::int64_t slot_bytes;

  /// `least_rows`: as many rows and labels must fit into one piece. kInvalidArgument if they do
  /// not, naming the bytes and HCCL_BUFFSIZE.
  static Result<RowLayout> make(std::int64_t head_bytes, std::int64_t row_bytes,
                                std::int64_t least_rows, int ranks, std::int64_t window_bytes);
};

/// The pieces of one call. Made anew for each run, before it begins; holds no memory of its own.
class RowExchange {
 public:
  RowExchange(internal::GroupState& group, const RowLayout& layout);

  /// Written before begin_call, with the half's piece; others' are to be read after check_peers.
  std::byte* head(int rank) const { return one_shot_half(group_, rank, call_); }
  RowPiece half_piece(int rank) const {
    return {head(rank) + layout_.head_bytes, group_.ranks(), layout_.row_bytes};
  }

  /// Piece s of the ring, counted from 0. Own: to be written between acquire and publish.
  RowPiece piece(std::int64_t s, int rank) const {
    return {ring_.slot(s, rank), group_.ranks(), layout_.row_bytes};
  }
  Status acquire(std::int64_t s) { return ring_.acquire(s); }
  void publish(std::int64_t s);
  /// Waits for piece s of a peer; it is to be read until consumed(s).
  Status wait(std::int64_t s, int peer);
  /// This rank reads nothing of any piece s any more.
  void consumed(std::int64_t s) { ring_.consumed(s); }

 private:
  internal::GroupState& group_;
  const RowLayout& layout_;
  const std::uint64_t call_;
  SlotRing ring_;
  const std::uint64_t published_;  // pieces before this call
};

}  // namespace weft::tile
