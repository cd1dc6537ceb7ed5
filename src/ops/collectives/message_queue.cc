// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/message_queue.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>

#include "comm/wait_times.h"
#include "ops/collectives/contract.h"

namespace weft::internal {

// With nothing under way there is nothing to look after: whoever brings something rings.
constexpr std::int64_t kIdleNs = 3'600'000'000'000;

MessageQueueState::MessageQueueState(Group group, isa::Set isa)
    : group_(std::move(group)),
      state_(group_.state()),
      courier_(state_, kOp, isa),
      sends_(index(group_.ranks())),
      receives_(index(group_.ranks())),
      arriving_(index(group_.ranks())),
      thread_([this] { run(); }) {}

MessageQueueState::~MessageQueueState() {
  if (state_.forked()) {  // the thread is not in this process, and nobody may wait for it
    new std::thread(std::move(thread_));
    return;
  }
  stop_.store(true, std::memory_order_seq_cst);  // then the bell: see ring()
  state_.ring(state_.rank());
  thread_.join();
}

Status MessageQueueState::check(const Message& message, double timeout_s) const {
  if (std::isnan(timeout_s))
    return Status(StatusCode::kInvalidArgument, fmt::format("{}: timeout_s is not a number", kOp));
  Message checked = message;
  if (message.kind == Message::Kind::kRecv && message.peer == kAnyPeer) checked.peer = 0;
  return ops::check_batch_send_recv({group_, kOp}, {&checked, 1});
}

void MessageQueueState::post(const Message& message, std::int64_t tag, double timeout_s,
                             MessageQueue::Done done) {
  if (state_.forked()) return done(state_.health(), message.peer);  // there is no thread
  Status refused = check(message, timeout_s);
  const double limit_s = timeout_s == 0 ? state_.exec_timeout_s() : timeout_s;
  Posted posted = {
      refused.ok() ? courier_.transfer(message, tag) : ops::Transfer{.message = message},
      std::move(done),
      std::move(refused),
      limit_s,
      now_ns(),
      std::isnan(limit_s) ? kNever : deadline_after(limit_s)};
  {
    const std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(posted));
  }
  posted_.store(true, std::memory_order_seq_cst);  // then the bell: see ring()
  state_.ring(state_.rank());
}

void MessageQueueState::run() {
  const auto stopped = [&] { return stop_.load(std::memory_order_seq_cst); };
  while (!stopped()) {
    const auto moved = [&] { return step() || stopped(); };
    if (!wait_awake(state_.oversubscribed(), now_ns(), moved)) sleep();
  }
  take_posted();
  end_all(Status(StatusCode::kPeerLost,
                 fmt::format("{}: rank {} has destroyed its queue", kOp, state_.rank())));
}

bool MessageQueueState::step() {
  bool moved = take_posted();
  if (const Status health = state_.health(); !health.ok()) return end_all(health) || moved;
  const int ranks = state_.ranks();
  for (int i = 0, first = first_; i < ranks; ++i) {
    const int peer = (first + i) % ranks;
    moved = send_to(peer) || moved;
    moved = receive_from(peer) || moved;
  }
  return moved;
}

// Returns when something has moved or the queue shall end.
void MessageQueueState::sleep() {
  const auto moved = [&] { return step() || stop_.load(std::memory_order_seq_cst); };
  std::int64_t looked_ns = now_ns();
  while (true) {
    const std::int64_t slice =
        under_way_ > 0 ? std::min(kSliceNs, earliest_ns_ - now_ns()) : kIdleNs;
    const std::uint64_t rung = state_.listen();
    bool done = moved();
    if (!done && slice > 0) {
      state_.sleep_until_rung(rung, slice);
      done = moved();
    }
    state_.stop_listening();
    if (done) return;
    const std::int64_t time = now_ns();
    if (under_way_ == 0 || (time - looked_ns < kLookNs && time < earliest_ns_)) continue;
    looked_ns = time;
    check_lost();
    check_late();
  }
}

bool MessageQueueState::take_posted() {
  if (!posted_.load(std::memory_order_seq_cst)) return false;
  posted_.store(false, std::memory_order_seq_cst);  // before the inbox is emptied
  {
    const std::lock_guard lock(mutex_);
    taken_.swap(inbox_);
  }
  for (Posted& posted : taken_) add(std::move(posted));
  taken_.clear();
  return true;
}

void MessageQueueState::add(Posted posted) {
  ++under_way_;
  if (!posted.refused.ok()) {
    const Status refused = std::move(posted.refused);
    return finish(std::move(posted), refused);
  }
  posted.number = numbers_++;
  earliest_ns_ = std::min(earliest_ns_, posted.deadline_ns);
  const int peer = posted.transfer.message.peer;
  Line& line = posted.transfer.sends() ? sends_[index(peer)]
               : peer == kAnyPeer      ? any_
                                       : receives_[index(peer)];
  line.push_back(std::move(posted));
}

bool MessageQueueState::send_to(int peer) {
  Line& line = sends_[index(peer)];
  bool moved = false;
  while (!line.empty()) {
    ops::Transfer& transfer = line.front().transfer;
    if (transfer.done == 0) transfer.first = state_.mail_sent(state_.rank(), peer);
    if (!courier_.move_piece(transfer)) return moved;
    moved = true;
    if (!transfer.moved()) return true;  // the others' turn
    Posted sent = std::move(line.front());
    line.pop_front();
    finish(std::move(sent), {});
  }
  return moved;
}

bool MessageQueueState::receive_from(int peer) {
  std::optional<Posted>& arriving = arriving_[index(peer)];
  if (!arriving) {
    const std::uint64_t taken = state_.mail_taken(peer, state_.rank());
    Line* const line = state_.mail_sent(peer, state_.rank()) > taken ? line_for(peer) : nullptr;
    if (!line) return false;
    arriving = std::move(line->front());
    line->pop_front();
    arriving->transfer.message.peer = peer;
    arriving->transfer.first = taken;
    first_ = (peer + 1) % state_.ranks();  // of those that any_ may take, the next one first
  }
  const bool moved = courier_.move_piece(arriving->transfer);
  if (!courier_.failure().ok()) return static_cast<void>(state_.poison(courier_.failure())), true;
  if (arriving->transfer.moved()) {
    Posted received = std::move(*arriving);
    arriving.reset();
    finish(std::move(received), {});
  }
  return moved;
}

MessageQueueState::Line* MessageQueueState::line_for(int peer) {
  Line& own = receives_[index(peer)];
  if (own.empty() || (!any_.empty() && any_.front().number < own.front().number))
    return any_.empty() ? nullptr : &any_;
  return &own;
}

// `posted` is in no line any more, so that `done` may do as it likes.
void MessageQueueState::finish(Posted posted, const Status& status) {
  --under_way_;
  if (posted.done) posted.done(status, posted.transfer.message.peer);
}

bool MessageQueueState::end_all(const Status& status) {
  Line ended;
  const auto take = [&](Line& line) {
    std::move(line.begin(), line.end(), std::back_inserter(ended));
    line.clear();
  };
  for (Line& line : sends_) take(line);
  for (Line& line : receives_) take(line);
  take(any_);
  for (std::optional<Posted>& arriving : arriving_)
    if (arriving) ended.push_back(std::move(*std::exchange(arriving, std::nullopt)));
  std::ranges::sort(ended, {}, &Posted::number);
  for (Posted& posted : ended) finish(std::move(posted), status);
  return !ended.empty();
}

const MessageQueueState::Posted* MessageQueueState::waiting_for(int peer) const {
  const Line &sends = sends_[index(peer)], &receives = receives_[index(peer)];
  if (arriving_[index(peer)]) return &*arriving_[index(peer)];
  if (!receives.empty()) return &receives.front();
  return sends.empty() ? nullptr : &sends.front();
}

// A receive of any peer has lost one whose process has ended; of those that left in order it has
// lost nothing while another one is there.
void MessageQueueState::check_lost() {
  state_.look_for_ended_processes();
  int gone = -1, left = -1, others = state_.ranks() - 1;
  for (int peer = 0; peer < state_.ranks(); ++peer) {
    const auto fate = state_.fate(peer);
    if (fate == GroupState::Fate::kThere) continue;
    --others;
    left = peer;
    if (waiting_for(peer) || (!any_.empty() && fate == GroupState::Fate::kEnded)) gone = peer;
  }
  if (!any_.empty() && others == 0 && gone < 0) gone = left;
  // All it ever published is visible by now. What it still did may be enough.
  if (gone < 0 || step()) return;
  const Posted* waiting = waiting_for(gone);
  if (!waiting && !any_.empty()) waiting = &any_.front();
  if (waiting) static_cast<void>(state_.lose(kOp, gone, ops::awaited(waiting->transfer)));
}

template <typename Body>
void MessageQueueState::for_all(const Body& body) const {
  for (const Line& line : sends_) std::ranges::for_each(line, body);
  for (const Line& line : receives_) std::ranges::for_each(line, body);
  std::ranges::for_each(any_, body);
  for (const std::optional<Posted>& arriving : arriving_)
    if (arriving) body(*arriving);
}

void MessageQueueState::check_late() {
  const std::int64_t time = now_ns();
  if (time < earliest_ns_) return;
  const Posted* first = nullptr;
  for_all([&](const Posted& posted) {
    if (!first || posted.deadline_ns < first->deadline_ns) first = &posted;
  });
  earliest_ns_ = first ? first->deadline_ns : kNever;
  if (!first || time < earliest_ns_) return;
  static_cast<void>(state_.poison(Status(
      StatusCode::kTimeout,
      fmt::format("{}: rank {} waited {:.3g} s for {} (tag {}). It may be stopped, stuck or slow, "
                  "or post other messages; the limit is {:.6g} s. Form a new group.",
                  kOp, state_.rank(), static_cast<double>(time - first->begin_ns) * 1e-9,
                  ops::awaited(first->transfer), first->transfer.tag, first->limit_s))));
}

}  // namespace weft::internal

namespace weft {

using internal::MessageQueueState;

MessageQueue::MessageQueue(std::unique_ptr<MessageQueueState> state) : state_(std::move(state)) {}
MessageQueue::MessageQueue(MessageQueue&&) noexcept = default;
MessageQueue& MessageQueue::operator=(MessageQueue&&) noexcept = default;
MessageQueue::~MessageQueue() = default;

Result<MessageQueue> MessageQueue::create(Group group) {
  WEFT_RETURN_IF_ERROR(group.health());
  WEFT_ASSIGN_OR_RETURN(const isa::Set isa, isa::capped(""));
  try {
    return MessageQueue(std::make_unique<MessageQueueState>(std::move(group), isa));
  } catch (const std::system_error& error) {
    return Status(
        StatusCode::kOutOfMemory,
        fmt::format("message queue: the OS refused to start a thread ({})", error.what()));
  }
}

void MessageQueue::post(const Message& message, std::int64_t tag, double timeout_s, Done done) {
  state_->post(message, tag, timeout_s, std::move(done));
}

void MessageQueue::abort(std::string_view reason) { state_->group().abort(reason); }

Status MessageQueue::health() const { return state_->group().health(); }

}  // namespace weft
