// SPDX-License-Identifier: Apache-2.0
// Waiting: spin, yield, sleep; what ends a wait early; and the words for it.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "base/clock.h"
#include "comm/control_block.h"
#include "comm/futex.h"
#include "comm/group_state.h"
#include "comm/wait_times.h"

namespace weft::internal {
namespace {

std::string_view name_of(CounterId id) {
  switch (id) {
    case CounterId::kCall:
      return "calls entered";
    case CounterId::kPartial:
      return "partials";
    case CounterId::kReduced:
      return "reduced";
    case CounterId::kConsumed:
      return "consumed";
    case CounterId::kCount:
      break;
  }
  return "counter";
}

std::string describe(const WaitFor& what) {
  return what.tile < 0 ? std::string(what.what)
                       : fmt::format("{} of tile {}", what.what, what.tile);
}

}  // namespace

Status GroupState::wait(int peer, CounterId id, std::uint64_t value, const WaitFor& what) {
  if (peek(peer, id) >= value && !poisoned()) return {};
  return wait_slowly({peer, id, value, what, now_ns()});
}

Status GroupState::wait_all(CounterId id, std::uint64_t value, const WaitFor& what) {
  // Starting with the next rank, so that not everybody asks rank 0 first.
  for (int step = 1; step < ranks_; ++step)
    WEFT_RETURN_IF_ERROR(wait((rank_ + step) % ranks_, id, value, what));
  return {};
}

bool GroupState::reached(const Wait& wait) const { return peek(wait.peer, wait.id) >= wait.value; }

Status GroupState::wait_slowly(const Wait& wait) {
  if (poisoned()) return health();
  const auto over = [&] { return reached(wait) || poisoned(); };
  if (wait_awake(oversubscribed_, wait.begin_ns, over)) return poisoned() ? health() : Status();
  return wait_asleep(wait);
}

Status GroupState::wait_asleep(const Wait& wait) {
  Counter& counter = this->counter(wait.peer, wait.id);
  ControlBlock& own = control(rank_);
  own.waiting_counter.store(static_cast<std::int32_t>(wait.id), std::memory_order_relaxed);
  own.waiting_value.store(wait.value, std::memory_order_relaxed);
  own.waiting_for.store(wait.peer + 1, std::memory_order_release);  // pairs with last_of_chain()
  std::int64_t looked_ns = now_ns();
  Status status;
  while (true) {
    status = check_interrupted(own.headers[call_ % 2].op());
    if (!status.ok()) break;
    const std::int64_t slice = std::min(kSliceNs, deadline_ns_ - now_ns());
    counter.waiters.fetch_add(1, std::memory_order_seq_cst);  // then value: see publish()
    const std::uint64_t now = counter.value.load(std::memory_order_seq_cst);
    if (now < wait.value && !poisoned() && slice > 0)
      futex_wait(counter.futex_word(), static_cast<std::uint32_t>(now), slice, private_futex_);
    counter.waiters.fetch_sub(1, std::memory_order_relaxed);

    if (poisoned()) status = health();
    if (!status.ok() || reached(wait)) break;
    const std::int64_t time = now_ns();
    if (time - looked_ns >= kLookNs || time >= deadline_ns_ ||
        control(wait.peer).left.load(std::memory_order_relaxed)) {
      looked_ns = time;
      status = check_lost_peers(wait);
    }
    if (status.ok() && time >= deadline_ns_ && !reached(wait))
      status = poison(Status(StatusCode::kTimeout, timeout_text(wait)));
    if (!status.ok()) break;
  }
  own.waiting_for.store(0, std::memory_order_release);
  return status;
}

Status GroupState::check_interrupted(std::string_view op) {
  return interruption_.ask() ? give_up(op, kInterrupted) : Status();
}

Status GroupState::check_lost_peers(const Wait& wait) {
  transport_->look_for_ended_processes();
  for (int peer = 0; peer < ranks_; ++peer)
    if (peer != rank_ && is_lost(peer, wait))
      return poison(Status(StatusCode::kPeerLost, lost_text(peer, wait)));
  return {};
}

bool GroupState::is_lost(int peer, const Wait& wait) const {
  const ControlBlock& block = control(peer);
  const bool left = block.left.load(std::memory_order_acquire) != 0;  // pairs with ~GroupState
  if (!left && transport_->alive(peer)) return false;
  // Gone; all it ever published is visible by now. It is a loss only if it still owed something.
  if (peer == wait.peer) return !reached(wait);
  // Who leaves in order within a call has either completed it or poisoned the group.
  if (left) return peek(peer, CounterId::kCall) < call_;
  return block.done.load(std::memory_order_acquire) < call_;
}

std::string GroupState::lost_text(int lost, const Wait& wait) const {
  const bool left = control(lost).left.load(std::memory_order_acquire) != 0;
  return fmt::format(
      "{}: rank {} {} while rank {} waited for {} from rank {} (call {} of the group). Form a new "
      "group without it or start it again.",
      control(rank_).headers[call_ % 2].op(), lost,
      left ? "left the group" : "is gone (its process ended)", rank_, describe(wait.what),
      wait.peer, call_);
}

std::string GroupState::timeout_text(const Wait& wait) const {
  const int last = last_of_chain(wait);
  const std::uint64_t entered = peek(last, CounterId::kCall);
  const std::string state =
      entered < call_
          ? fmt::format("rank {} has not entered call {} (it is at call {})", last, call_, entered)
          : fmt::format("rank {} is in the call and waits for nobody", last);
  return fmt::format(
      "{}: rank {} waited {:.3g} s for {} from rank {} ({} {} of {}); {}. It may be stopped, stuck "
      "or slow; the limit is {:.6g} s ({}). Form a new group.",
      control(rank_).headers[call_ % 2].op(), rank_,
      static_cast<double>(now_ns() - wait.begin_ns) * 1e-9, describe(wait.what), wait.peer,
      name_of(wait.id), peek(wait.peer, wait.id), wait.value, state, limit_s_,
      limit_of_call_ ? "of this call" : "exec_timeout_s, HCCL_EXEC_TIMEOUT");
}

int GroupState::last_of_chain(const Wait& wait) const {
  int last = wait.peer;
  for (int step = 0; step < ranks_; ++step) {
    const ControlBlock& block = control(last);
    const int next = block.waiting_for.load(std::memory_order_acquire) - 1;
    const int id = block.waiting_counter.load(std::memory_order_relaxed);
    if (next < 0 || next >= ranks_ || id < 0 || id >= static_cast<int>(CounterId::kCount))
      return last;
    // Asleep on something it already has: it is stopped, not waiting.
    if (peek(next, static_cast<CounterId>(id)) >=
        block.waiting_value.load(std::memory_order_relaxed))
      return last;
    last = next;
  }
  return wait.peer;  // a ring, which only a bug of the layer above can make
}

}  // namespace weft::internal
