// SPDX-License-Identifier: Apache-2.0
#include "event.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace weft::cann {

Error Event::record(const std::shared_ptr<Event>& self, Stream& stream) {
  // Held while submitting, so that numbers have the order of the stream.
  const std::lock_guard lock(self->mutex_);
  const std::uint64_t number = self->recorded_ + 1;
  Error error = stream.submit_always([self, number] { self->complete_record(number); });
  if (error.ok()) self->recorded_ = number;
  return error;
}

void Event::complete_record(std::uint64_t record) {
  const std::lock_guard lock(mutex_);
  if (record < completed_) return;
  completed_ = record;
  time_ns_ = now_ns();
  completed_changed_.notify_all();
}

std::uint64_t Event::recorded() const {
  const std::lock_guard lock(mutex_);
  return recorded_;
}

bool Event::complete() const {
  const std::lock_guard lock(mutex_);
  return completed_ >= recorded_;
}

bool Event::wait(std::uint64_t record, int timeout_ms) {
  std::unique_lock lock(mutex_);
  const auto reached = [&] { return completed_ >= record; };
  if (timeout_ms != kForever)
    return completed_changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), reached);
  completed_changed_.wait(lock, reached);
  return true;
}

std::optional<std::int64_t> Event::time_ns() const {
  const std::lock_guard lock(mutex_);
  if (!measures_ || recorded_ == 0 || completed_ < recorded_) return std::nullopt;
  return time_ns_;
}

}  // namespace weft::cann
