// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks, and what ranks announce for single peers.
//
// A sender fills its slot for the receiver, then stores `sent`; the receiver empties it, then
// stores `taken` in its own segment. Each then rings the other's bell, but only if that one sleeps.
// A rank may talk to several peers at once and sleeps for all of them on its one bell.
#include <fmt/core.h>

#include <algorithm>

#include "base/clock.h"
#include "comm/control_block.h"
#include "comm/futex.h"
#include "comm/group_state.h"
#include "comm/wait_times.h"

namespace weft::internal {

using Step = MailWork::Step;

PairBlock& GroupState::pair(int owner, int peer) const {
  return segments_[static_cast<std::size_t>(owner)].pairs[peer];
}

void GroupState::announce(int peer, const CallCounts& counts) {
  pair(rank_, peer).counts[(call_ + 1) % 2] = counts;
}

const CallCounts& GroupState::announced(int rank, int peer) const {
  return pair(rank, peer).counts[call_ % 2];
}

std::int64_t GroupState::mail_slot_bytes() const {
  return SegmentLayout{window_bytes_, ranks_}.mail_slot_bytes();
}

std::byte* GroupState::mail(int from, int to, std::uint64_t piece) const {
  const auto slot = static_cast<std::int64_t>(piece % PairBlock::kSlots);
  return segments_[static_cast<std::size_t>(from)].mail +
         (to * PairBlock::kSlots + slot) * mail_slot_bytes();
}

MailHeader& GroupState::mail_header(int from, int to, std::uint64_t piece) const {
  return pair(from, to).headers[piece % PairBlock::kSlots];
}

// Sequentially consistent, all four, and the count of sleepers in ring() and listen(): either the
// sleeper sees what was published, or the publisher sees the sleeper. As acquire and release they
// also carry the contents of the slots.
std::uint64_t GroupState::mail_sent(int from, int to) const {
  return pair(from, to).sent.load(std::memory_order_seq_cst);
}

std::uint64_t GroupState::mail_taken(int from, int to) const {
  return pair(to, from).taken.load(std::memory_order_seq_cst);
}

void GroupState::publish_sent(int to, std::uint64_t pieces) {
  pair(rank_, to).sent.store(pieces, std::memory_order_seq_cst);
  ring(to);
}

void GroupState::publish_taken(int from, std::uint64_t pieces) {
  pair(rank_, from).taken.store(pieces, std::memory_order_seq_cst);
  ring(from);
}

void GroupState::ring(int rank) const {
  Counter& bell = control(rank).bell;
  if (bell.waiters.load(std::memory_order_seq_cst) == 0) return;
  bell.value.fetch_add(1, std::memory_order_seq_cst);
  futex_wake_all(bell.futex_word(), private_futex_);
}

std::uint64_t GroupState::listen() {
  Counter& bell = control(rank_).bell;
  bell.waiters.fetch_add(1, std::memory_order_seq_cst);  // then what peers publish: see ring()
  return bell.value.load(std::memory_order_seq_cst);
}

void GroupState::sleep_until_rung(std::uint64_t rung, std::int64_t most_ns) {
  futex_wait(control(rank_).bell.futex_word(), static_cast<std::uint32_t>(rung), most_ns,
             private_futex_);
}

void GroupState::stop_listening() {
  control(rank_).bell.waiters.fetch_sub(1, std::memory_order_relaxed);
}

GroupState::Fate GroupState::fate(int peer) const {
  if (control(peer).left.load(std::memory_order_acquire) != 0) return Fate::kLeft;  // ~GroupState
  return transport_->alive(peer) ? Fate::kThere : Fate::kEnded;
}

Status GroupState::lose(std::string_view op, int peer, std::string_view awaited) {
  return poison(Status(
      StatusCode::kPeerLost,
      fmt::format("{}: rank {} {} while rank {} waited for {}. Form a new group without it or "
                  "start it again.",
                  op, peer,
                  fate(peer) == Fate::kLeft ? "left the group" : "is gone (its process ended)",
                  rank_, awaited)));
}

Status GroupState::run_mail(std::string_view op, MailWork& work) {
  if (forked() || poisoned()) return health();
  start_deadline();
  while (true) {
    const std::int64_t begin_ns = now_ns();
    Step step = Step::kBlocked;
    wait_awake(oversubscribed_, begin_ns, [&] {
      step = work.advance();
      return step != Step::kBlocked || poisoned();
    });
    if (poisoned()) return health();
    if (step == Step::kDone) return {};
    if (step == Step::kFailed) return poison(work.failure());
    if (step == Step::kBlocked) WEFT_RETURN_IF_ERROR(sleep_for_mail(op, work, begin_ns));
  }
}

// Returns when something has moved, with an error when it never will.
Status GroupState::sleep_for_mail(std::string_view op, MailWork& work, std::int64_t begin_ns) {
  std::int64_t looked_ns = now_ns();
  while (true) {
    WEFT_RETURN_IF_ERROR(check_interrupted(op));
    const std::int64_t slice = std::min(kSliceNs, deadline_ns_ - now_ns());
    const std::uint64_t rung = listen();
    Step step = work.advance();
    if (step == Step::kBlocked && !poisoned() && slice > 0) {
      sleep_until_rung(rung, slice);
      step = work.advance();
    }
    stop_listening();

    if (poisoned()) return health();
    if (step == Step::kFailed) return poison(work.failure());
    if (step != Step::kBlocked) return {};
    const std::int64_t time = now_ns();
    if (time - looked_ns >= kLookNs || time >= deadline_ns_) {
      looked_ns = time;
      WEFT_RETURN_IF_ERROR(check_lost_partners(op, work));
    }
    if (time < deadline_ns_) continue;
    if (work.advance() != Step::kBlocked) return {};
    for (int peer = 0; peer < ranks_; ++peer)
      if (work.waits_for(peer))
        return poison(Status(
            StatusCode::kTimeout,
            fmt::format("{}: rank {} waited {:.3g} s for {}. It may be stopped, stuck or slow, or "
                        "make other calls; the limit is {:.6g} s (exec_timeout_s, "
                        "HCCL_EXEC_TIMEOUT). Form a new group.",
                        op, rank_, static_cast<double>(time - begin_ns) * 1e-9, work.awaited(peer),
                        limit_s_)));
  }
}

Status GroupState::check_lost_partners(std::string_view op, MailWork& work) {
  transport_->look_for_ended_processes();
  for (int peer = 0; peer < ranks_; ++peer) {
    if (peer == rank_ || !work.waits_for(peer) || fate(peer) == Fate::kThere) continue;
    // Gone; all it ever published is visible by now. What it still did may be enough.
    if (work.advance() != Step::kBlocked) return {};
    return lose(op, peer, work.awaited(peer));
  }
  return {};
}

}  // namespace weft::internal
