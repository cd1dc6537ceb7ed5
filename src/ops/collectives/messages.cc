// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks. A message travels in pieces through the mail slots of the pair, at
// least one piece even if it is empty; the first one says how long it is. The sender is done when
// all pieces have been taken, so that both find out if they meant different messages.
#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <vector>

#include "comm/control_block.h"
#include "ops/collectives/contract.h"
#include "ops/collectives/run.h"
#include "weft/collectives.h"

namespace weft {
namespace {

using internal::GroupState;
using internal::MailHeader;
using internal::PairBlock;
using Kind = Message::Kind;

/// One message on its way.
struct Transfer {
  const Message* message;
  std::int64_t bytes;
  std::uint64_t first;   // number of its first piece among those of the pair
  std::uint64_t pieces;  // at least 1
  std::uint64_t done = 0;

  bool sends() const { return message->kind == Kind::kSend; }
};

class Exchange final : public internal::MailWork {
 public:
  Exchange(internal::ContextState& context, GroupState& group, std::string_view op)
      : group_(group), op_(op), copy_(reduction::select_copy(context.isa)) {}

  void add(const Message& message) {
    const std::int64_t bytes = bytes_of(message.dtype, message.count);
    const auto pieces = static_cast<std::uint64_t>(
        std::max<std::int64_t>(1, ceil_div(bytes, group_.mail_slot_bytes())));
    // Behind the messages of its kind with this peer that came before it.
    std::uint64_t first = message.kind == Kind::kSend
                              ? group_.mail_sent(group_.rank(), message.peer)
                              : group_.mail_taken(message.peer, group_.rank());
    for (const Transfer& other : transfers_)
      if (other.message->kind == message.kind && other.message->peer == message.peer)
        first = other.first + other.pieces;
    transfers_.push_back({&message, bytes, first, pieces});
  }

  Step advance() override {
    bool moved = false, done = true;
    for (Transfer& transfer : transfers_) {
      while (failure_.ok() && (transfer.sends() ? send_piece(transfer) : take_piece(transfer)))
        moved = true;
      if (!failure_.ok()) return Step::kFailed;
      done = done && is_over(transfer);
    }
    return done ? Step::kDone : moved ? Step::kMoved : Step::kBlocked;
  }

  Status failure() const override { return failure_; }

  bool waits_for(int peer) const override { return first_open(peer) != nullptr; }

  std::string awaited(int peer) const override {
    const Transfer* open = first_open(peer);
    if (!open) return {};
    const std::string what =
        fmt::format("{} elements of {}", open->message->count, to_string(open->message->dtype));
    return open->sends() ? fmt::format("rank {} to receive {}", peer, what)
                         : fmt::format("rank {} to send {}", peer, what);
  }

 private:
  bool is_over(const Transfer& t) const {
    if (!t.sends()) return t.done == t.pieces;
    return group_.mail_taken(group_.rank(), t.message->peer) >= t.first + t.pieces;
  }
  const Transfer* first_open(int peer) const {
    for (const Transfer& transfer : transfers_)
      if (transfer.message->peer == peer && !is_over(transfer)) return &transfer;
    return nullptr;
  }
  std::byte* data(const Transfer& t) const {
    return static_cast<std::byte*>(t.message->data) +
           static_cast<std::int64_t>(t.done) * group_.mail_slot_bytes();
  }
  std::int64_t piece_bytes(const Transfer& t) const {
    const std::int64_t begin = static_cast<std::int64_t>(t.done) * group_.mail_slot_bytes();
    return std::min(group_.mail_slot_bytes(), t.bytes - begin);
  }

  // Puts the next piece into its slot if that is free and it is its turn.
  bool send_piece(Transfer& t) {
    const int me = group_.rank(), peer = t.message->peer;
    const std::uint64_t piece = t.first + t.done;
    if (t.done == t.pieces || group_.mail_sent(me, peer) != piece ||
        piece - group_.mail_taken(me, peer) >= PairBlock::kSlots)
      return false;
    group_.mail_header(me, peer, piece) = {t.message->count,
                                           static_cast<std::int32_t>(t.message->dtype)};
    copy_(data(t), group_.mail(me, peer, piece), piece_bytes(t), false);
    ++t.done;
    group_.publish_sent(peer, piece + 1);
    return true;
  }

  bool take_piece(Transfer& t) {
    const int me = group_.rank(), peer = t.message->peer;
    const std::uint64_t piece = t.first + t.done;
    if (t.done == t.pieces || group_.mail_taken(peer, me) != piece ||
        group_.mail_sent(peer, me) <= piece)
      return false;
    if (t.done == 0 && !check(*t.message, group_.mail_header(peer, me, piece))) return false;
    const bool stream = t.bytes >= ops::kStreamBytes;
    copy_(group_.mail(peer, me, piece), data(t), piece_bytes(t), stream);
    if (stream) reduction::stream_fence();
    ++t.done;
    group_.publish_taken(peer, piece + 1);
    return true;
  }

  bool check(const Message& mine, const MailHeader& theirs) {
    const auto differ = [&](std::string_view field, const auto& sent, const auto& expected) {
      failure_ = Status(StatusCode::kMismatch,
                        fmt::format("{}: {} is {} on rank {}, which sends, but {} on rank {}, "
                                    "which receives. Give both the same and form a new group.",
                                    op_, field, sent, mine.peer, expected, group_.rank()));
      return false;
    };
    if (theirs.count != mine.count) return differ("count", theirs.count, mine.count);
    if (theirs.type != static_cast<std::int32_t>(mine.dtype)) {
      const bool known = theirs.type >= 0 && theirs.type <= static_cast<int>(DType::kFloat64);
      return differ(
          "dtype", known ? to_string(static_cast<DType>(theirs.type)) : std::string_view("unknown"),
          to_string(mine.dtype));
    }
    return true;
  }

  GroupState& group_;
  const std::string_view op_;
  const reduction::CopyFn copy_;
  std::vector<Transfer> transfers_;
  Status failure_;
};

Status exchange(Context& context, Group& group, std::string_view op,
                std::span<const Message> messages) {
  Exchange work(context.state(), group.state(), op);
  for (const Message& message : messages) work.add(message);
  return group.state().run_mail(op, work);
}

Status alone(Context& context, Group& group, std::string_view op, const Message& message) {
  WEFT_RETURN_IF_ERROR(
      ops::check_message({group, op}, message.data, message.count, message.dtype, message.peer));
  return exchange(context, group, op, {&message, 1});
}

}  // namespace

Status send(Context& context, Group& group, const void* data, std::int64_t count, DType dtype,
            int peer) {
  return alone(context, group, "send", {Kind::kSend, const_cast<void*>(data), count, dtype, peer});
}

Status recv(Context& context, Group& group, void* data, std::int64_t count, DType dtype, int peer) {
  return alone(context, group, "recv", {Kind::kRecv, data, count, dtype, peer});
}

Status batch_send_recv(Context& context, Group& group, std::span<const Message> messages) {
  constexpr std::string_view kOp = "batch_send_recv";
  WEFT_RETURN_IF_ERROR(ops::check_batch_send_recv({group, kOp}, messages));
  return exchange(context, group, kOp, messages);
}

}  // namespace weft
