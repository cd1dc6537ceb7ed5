// SPDX-License-Identifier: Apache-2.0
// Calls, counters and poison. Waiting is in group_wait.cc.
#include "comm/group_state.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/process.h"
#include "base/topology.h"
#include "comm/control_block.h"
#include "comm/deadline.h"
#include "comm/futex.h"

namespace weft::internal {
namespace {

// Launchers bind each process to cpus of its own, so this process's mask says nothing about others.
int cpus_of_ranks(bool in_this_process) {
  return in_this_process ? topology().usable_cpus : topology().shared_cpus;
}

}  // namespace

GroupState::GroupState(std::unique_ptr<Transport> transport, int rank, int ranks,
                       const GroupOptions& options)
    : transport_(std::move(transport)),
      rank_(rank),
      ranks_(ranks),
      name_(options.name),
      window_bytes_(options.window_bytes),
      exec_timeout_s_(options.exec_timeout_s),
      private_futex_(transport_->private_futex()),
      oversubscribed_(ranks > cpus_of_ranks(private_futex_)),
      process_(this_process()),
      interruption_(options.interrupted) {
  for (int peer = 0; peer < ranks; ++peer) segments_.push_back(transport_->segment(peer));
  start_deadline();
}

GroupState::~GroupState() {
  if (forked()) return;
  // Release: who sees that we left also sees the last value of our counters. Partner: is_lost().
  control(rank_).left.store(1, std::memory_order_release);
  wake_everybody();
}

Counter& GroupState::counter(int rank, CounterId id) const {
  return control(rank).counters[static_cast<int>(id)];
}

void GroupState::start_deadline(double timeout_s) {
  limit_of_call_ = timeout_s != 0;
  limit_s_ = limit_of_call_ ? timeout_s : exec_timeout_s_;
  deadline_ns_ = deadline_after(limit_s_);
}

Status GroupState::begin_call(const CallHeader& header, double timeout_s) {
  if (forked() || poisoned()) return health();
  start_deadline(timeout_s);
  ++call_;
  CallHeader& slot = control(rank_).headers[call_ % 2];
  const auto used = offsetof(CallHeader, fields_) +
                    static_cast<std::size_t>(header.count_) * sizeof(CallHeader::Field);
  std::memcpy(static_cast<void*>(&slot), &header, used);
  publish(CounterId::kCall, call_);
  return {};
}

Status GroupState::check_peers() {
  WEFT_RETURN_IF_ERROR(wait_all(CounterId::kCall, call_, {"the start of the call"}));
  const auto header = [&](int rank) -> const CallHeader& {
    return control(rank).headers[call_ % 2];
  };
  const std::uint64_t digest = header(0).digest_;
  for (int peer = 1; peer < ranks_; ++peer)
    if (header(peer).digest_ != digest)
      return poison(
          Status(StatusCode::kMismatch, CallHeader::difference(header(0), header(peer), peer)));
  return {};
}

void GroupState::end_call() {
  // Release, for the reader in is_lost().
  control(rank_).done.store(call_, std::memory_order_release);
}

void GroupState::publish(CounterId id, std::uint64_t value) {
  Counter& mine = counter(rank_, id);
  // Sequentially consistent, both here and in wait_asleep(), where the order is waiters, then
  // value: either we see the sleeper, or it sees the value. As a release it also makes everything
  // written before visible to the acquire loads in peek() and reached().
  mine.value.store(value, std::memory_order_seq_cst);
  if (mine.waiters.load(std::memory_order_seq_cst) > 0)
    futex_wake_all(mine.futex_word(), private_futex_);
}

std::uint64_t GroupState::own(CounterId id) const {
  return counter(rank_, id).value.load(std::memory_order_relaxed);
}

std::uint64_t GroupState::peek(int peer, CounterId id) const {
  return counter(peer, id).value.load(std::memory_order_acquire);  // pairs with publish()
}

bool GroupState::poisoned() const {
  return control(0).poisoned_by.load(std::memory_order_acquire) != 0;  // pairs with poison()
}

Status GroupState::poison(const Status& status) {
  if (status.ok() || forked() || poisoned()) return health();
  {
    const std::lock_guard lock(poison_mutex_);
    if (!poison_written_) {
      ControlBlock& own = control(rank_);
      const std::size_t length = std::min(status.message().size(), sizeof own.poison_text - 1);
      own.poison_code = static_cast<std::int32_t>(status.code());
      std::memcpy(own.poison_text, status.message().data(), length);
      poison_written_ = true;
      std::int32_t nobody = 0;
      // Release: the text is complete for whoever sees our rank there. Partner: poisoned().
      control(0).poisoned_by.compare_exchange_strong(nobody, rank_ + 1, std::memory_order_acq_rel);
    }
  }
  wake_everybody();
  return health();
}

Status GroupState::give_up(std::string_view op, std::string_view reason) {
  return poison(
      Status(StatusCode::kPeerLost,
             fmt::format("{}: rank {} gave up ({}). Form a new group.", op, rank_, reason)));
}

bool GroupState::forked() const { return this_process() != process_; }

Status GroupState::health() const {
  if (forked())
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("group: \"{}\" belongs to process {}, of which process {} is a "
                              "forked child. Form a new group in the child.",
                              name_, process_, this_process()));
  const std::int32_t by = control(0).poisoned_by.load(std::memory_order_acquire);
  if (by <= 0 || by > ranks_) return {};
  const ControlBlock& first = control(by - 1);
  return Status(
      static_cast<StatusCode>(first.poison_code),
      std::string(first.poison_text, strnlen(first.poison_text, sizeof first.poison_text)));
}

void GroupState::wake_everybody() const {
  for (int rank = 0; rank < ranks_; ++rank) {
    for (Counter& counter : control(rank).counters)
      if (counter.waiters.load(std::memory_order_seq_cst) > 0)
        futex_wake_all(counter.futex_word(), private_futex_);
    ring(rank);
  }
}

}  // namespace weft::internal
