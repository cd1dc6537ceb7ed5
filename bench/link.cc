// SPDX-License-Identifier: Apache-2.0
#include "link.h"

#include <time.h>

#include <algorithm>

#include "weft/trace.h"

namespace weft::bench {
namespace {

// More than a call has in flight.
constexpr size_t kKept = 64;

void sleep_until(std::int64_t due_ns) {
  // The last part awake: a sleeping thread comes back some 60 us late.
  constexpr std::int64_t kAwakeNs = 100'000;
  const std::int64_t wake_ns = due_ns - kAwakeNs;
  if (wake_ns > trace_now_ns()) {
    const timespec wake{static_cast<time_t>(wake_ns / 1'000'000'000),
                        static_cast<long>(wake_ns % 1'000'000'000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, nullptr);
  }
  while (trace_now_ns() < due_ns) {
  }
}

}  // namespace

void ThrottledLink::send(int rank, internal::CounterId id, std::uint64_t value,
                         std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  Rank& from = ranks_[static_cast<size_t>(rank)];
  from.free_ns = std::max(from.free_ns, trace_now_ns()) +
                 static_cast<std::int64_t>(1e9 * static_cast<double>(bytes) / bytes_per_s_);
  std::deque<Message>& sent = from.sent[static_cast<size_t>(id)];
  sent.push_back({value, from.free_ns});
  if (sent.size() > kKept) sent.pop_front();
}

void ThrottledLink::receive(int peer, internal::CounterId id, std::uint64_t value) {
  std::int64_t due_ns = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const Message& message : ranks_[static_cast<size_t>(peer)].sent[static_cast<size_t>(id)])
      if (message.value == value) due_ns = message.due_ns;
  }
  sleep_until(due_ns);
}

}  // namespace weft::bench
