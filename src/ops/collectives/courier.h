// SPDX-License-Identifier: Apache-2.0
// Moves messages between two ranks piece by piece through the mail slots of the pair: at least one
// piece even if a message is empty; the first one says how long it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/isa.h"
#include "comm/group_state.h"
#include "kernels/reduce/reduce.h"
#include "weft/collectives.h"
#include "weft/status.h"

namespace weft::ops {

/// One message on its way.
struct Transfer {
  Message message;
  std::int64_t tag;
  std::int64_t bytes;
  std::uint64_t pieces;     ///< at least 1
  std::uint64_t first = 0;  ///< number of its first piece among those of the pair
  std::uint64_t done = 0;   ///< pieces that were put into their slots, or taken

  bool sends() const { return message.kind == Message::Kind::kSend; }
  bool moved() const { return done == pieces; }
};

class Courier {
 public:
  /// `op`: what messages begin with.
  Courier(internal::GroupState& group, std::string_view op, isa::Set isa)
      : group_(group), op_(op), copy_(reduction::select_copy(isa)) {}

  Transfer transfer(const Message& message, std::int64_t tag) const;

  /// Puts the next piece into its slot, or takes it from there. False if it is not its turn, if
  /// the slot is not free or nothing has come, or on a failure.
  bool move_piece(Transfer& t) { return t.sends() ? send_piece(t) : take_piece(t); }
  /// Ok, or that the two sides meant different messages.
  const Status& failure() const { return failure_; }

 private:
  bool send_piece(Transfer& t);
  bool take_piece(Transfer& t);
  bool check(const Transfer& mine, const internal::MailHeader& theirs);
  std::byte* data(const Transfer& t) const;
  std::int64_t piece_bytes(const Transfer& t) const;

  internal::GroupState& group_;
  const std::string_view op_;
  const reduction::CopyFn copy_;
  Status failure_;
};

/// "rank 3 to send 5 elements of int8".
std::string awaited(const Transfer& transfer);

}  // namespace weft::ops
