// SPDX-License-Identifier: Apache-2.0
// Callbacks that run in a thread of the program: who is subscribed to which stream, and what waits.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "runtime.h"

namespace weft::cann {

/// A callback on its way from a stream to a subscribed thread.
struct Report {
  aclrtCallback function = nullptr;
  void* data = nullptr;
  const StreamOfContext* stream = nullptr;  // never read through
  bool over = false;                        // ran, or will never run
};

class Reports {
 public:
  static Reports& instance();

  Error subscribe(std::uint64_t thread, const StreamRef& stream);
  Error unsubscribe(std::uint64_t thread, const StreamRef& stream);
  bool subscribed(const StreamRef& stream);
  /// Called in the stream: hands the callback over; with `block`, returns when it is over.
  Error deliver(const StreamOfContext* stream, aclrtCallback function, void* data, bool block);
  /// Called in the subscribed thread: runs one callback.
  Error process(std::uint64_t thread, int timeout_ms);
  /// The stream is going away: what waits in it for a callback goes on.
  void forget(const StreamOfContext* stream);

 private:
  using Queue = std::deque<std::shared_ptr<Report>>;
  bool has_streams(std::uint64_t thread) const;
  void remove(const StreamOfContext* stream, std::uint64_t thread);

  std::mutex mutex_;
  std::condition_variable changed_;
  // By address: an entry is removed before its stream is destroyed.
  std::map<const StreamOfContext*, std::uint64_t> thread_of_;
  std::map<std::uint64_t, Queue> waiting_;
};

}  // namespace weft::cann
