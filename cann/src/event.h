// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "stream.h"

namespace weft::cann {

/// A point in a stream. Every record has a number; whoever waits, waits for the number that was the
/// latest when it asked.
class Event {
 public:
  explicit Event(bool measures) : measures_(measures) {}

  /// `self` keeps the event alive until the stream has come to it.
  static Error record(const std::shared_ptr<Event>& self, Stream& stream);
  std::uint64_t recorded() const;
  bool complete() const;
  /// False if the time passed first.
  bool wait(std::uint64_t record, int timeout_ms);
  /// When the latest record completed; nullopt if it has not, there is none, or the event does not
  /// measure.
  std::optional<std::int64_t> time_ns() const;

 private:
  void complete_record(std::uint64_t record);

  const bool measures_;
  mutable std::mutex mutex_;
  std::condition_variable completed_changed_;
  std::uint64_t recorded_ = 0, completed_ = 0;
  std::int64_t time_ns_ = 0;
};

}  // namespace weft::cann
