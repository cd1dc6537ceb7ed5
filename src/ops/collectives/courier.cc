// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/courier.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/memory.h"
#include "comm/control_block.h"
#include "ops/row_work.h"

namespace weft::ops {

using internal::MailHeader;
using internal::PairBlock;

Transfer Courier::transfer(const Message& message, std::int64_t tag) const {
  const std::int64_t bytes = bytes_of(message.dtype, message.count);
  return {.message = message,
          .tag = tag,
          .bytes = bytes,
          .pieces = static_cast<std::uint64_t>(
              std::max<std::int64_t>(1, ceil_div(bytes, group_.mail_slot_bytes())))};
}

std::byte* Courier::data(const Transfer& t) const {
  return static_cast<std::byte*>(t.message.data) +
         static_cast<std::int64_t>(t.done) * group_.mail_slot_bytes();
}

std::int64_t Courier::piece_bytes(const Transfer& t) const {
  const std::int64_t begin = static_cast<std::int64_t>(t.done) * group_.mail_slot_bytes();
  return std::min(group_.mail_slot_bytes(), t.bytes - begin);
}

bool Courier::send_piece(Transfer& t) {
  const int me = group_.rank(), peer = t.message.peer;
  const std::uint64_t piece = t.first + t.done;
  if (t.moved() || group_.mail_sent(me, peer) != piece ||
      piece - group_.mail_taken(me, peer) >= PairBlock::kSlots)
    return false;
  group_.mail_header(me, peer, piece) = {t.message.count, t.tag,
                                         static_cast<std::int32_t>(t.message.dtype)};
  copy_(data(t), group_.mail(me, peer, piece), piece_bytes(t), false);
  ++t.done;
  group_.publish_sent(peer, piece + 1);
  return true;
}

bool Courier::take_piece(Transfer& t) {
  const int me = group_.rank(), peer = t.message.peer;
  const std::uint64_t piece = t.first + t.done;
  if (t.moved() || group_.mail_taken(peer, me) != piece || group_.mail_sent(peer, me) <= piece)
    return false;
  if (t.done == 0 && !check(t, group_.mail_header(peer, me, piece))) return false;
  const bool stream = t.bytes >= kStreamBytes;
  copy_(group_.mail(peer, me, piece), data(t), piece_bytes(t), stream);
  if (stream) reduction::stream_fence();
  ++t.done;
  group_.publish_taken(peer, piece + 1);
  return true;
}

bool Courier::check(const Transfer& mine, const MailHeader& theirs) {
  const auto differ = [&](std::string_view field, const auto& sent, const auto& expected) {
    failure_ = Status(StatusCode::kMismatch,
                      fmt::format("{}: {} is {} on rank {}, which sends, but {} on rank {}, "
                                  "which receives. Give both the same and form a new group.",
                                  op_, field, sent, mine.message.peer, expected, group_.rank()));
    return false;
  };
  const Message& message = mine.message;
  if (theirs.tag != mine.tag) return differ("tag", theirs.tag, mine.tag);
  if (theirs.count != message.count) return differ("count", theirs.count, message.count);
  if (theirs.type != static_cast<std::int32_t>(message.dtype)) {
    const bool known = theirs.type >= 0 && theirs.type <= static_cast<int>(DType::kFloat64);
    return differ("dtype",
                  known ? to_string(static_cast<DType>(theirs.type)) : std::string_view("unknown"),
                  to_string(message.dtype));
  }
  return true;
}

std::string awaited(const Transfer& t) {
  return fmt::format("{} to {} {} elements of {}",
                     t.message.peer < 0 ? "any rank" : fmt::format("rank {}", t.message.peer),
                     t.sends() ? "receive" : "send", t.message.count, to_string(t.message.dtype));
}

}  // namespace weft::ops
