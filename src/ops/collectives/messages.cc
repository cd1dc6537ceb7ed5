// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks that are moved while the rank waits for them. The sender is done when
// all pieces have been taken, so that both find out if they meant different messages.
#include <string>
#include <vector>

#include "ops/collectives/contract.h"
#include "ops/collectives/courier.h"
#include "ops/collectives/run.h"
#include "weft/collectives.h"

namespace weft {
namespace {

using internal::GroupState;
using ops::Transfer;
using Kind = Message::Kind;

constexpr std::int64_t kNoTag = 0;

class Exchange final : public internal::MailWork {
 public:
  Exchange(internal::ContextState& context, GroupState& group, std::string_view op)
      : group_(group), courier_(group, op, context.isa) {}

  void add(const Message& message) {
    Transfer transfer = courier_.transfer(message, kNoTag);
    // Behind the messages of its kind with this peer that came before it.
    transfer.first = transfer.sends() ? group_.mail_sent(group_.rank(), message.peer)
                                      : group_.mail_taken(message.peer, group_.rank());
    for (const Transfer& other : transfers_)
      if (other.message.kind == message.kind && other.message.peer == message.peer)
        transfer.first = other.first + other.pieces;
    transfers_.push_back(transfer);
  }

  Step advance() override {
    bool moved = false, done = true;
    for (Transfer& transfer : transfers_) {
      while (courier_.failure().ok() && courier_.move_piece(transfer)) moved = true;
      if (!courier_.failure().ok()) return Step::kFailed;
      done = done && is_over(transfer);
    }
    return done ? Step::kDone : moved ? Step::kMoved : Step::kBlocked;
  }

  Status failure() const override { return courier_.failure(); }

  bool waits_for(int peer) const override { return first_open(peer) != nullptr; }

  std::string awaited(int peer) const override {
    const Transfer* open = first_open(peer);
    return open ? ops::awaited(*open) : std::string();
  }

 private:
  bool is_over(const Transfer& t) const {
    if (!t.sends()) return t.moved();
    return group_.mail_taken(group_.rank(), t.message.peer) >= t.first + t.pieces;
  }
  const Transfer* first_open(int peer) const {
    for (const Transfer& transfer : transfers_)
      if (transfer.message.peer == peer && !is_over(transfer)) return &transfer;
    return nullptr;
  }

  GroupState& group_;
  ops::Courier courier_;
  std::vector<Transfer> transfers_;
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
