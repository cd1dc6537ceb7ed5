// SPDX-License-Identifier: Apache-2.0
// A stream: tasks that run one after the other in a thread of their own, so that a task may wait
// for a peer. The thread starts with the first task.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "error.h"

namespace weft::cann {

/// What a stream runs. A lambda that returns Status fits.
using Task = std::function<Error()>;

/// What a failed task means for the tasks behind it.
enum class OnFailure {
  kStreamDecides,  ///< aclrtSetStreamFailureMode
  kStop,           ///< the context takes no more tasks: `streamMode` 1 of the operators
};

/// For ever, as a time-out in milliseconds.
inline constexpr int kForever = -1;

/// Shared by the streams of one context: the failure that stopped them all, if one did.
class StopSwitch {
 public:
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  /// The first failure stays.
  void stop(const Error& why);
  Error why() const;

 private:
  std::atomic<bool> stopped_{false};
  mutable std::mutex mutex_;
  Error why_;
};

class Stream {
 public:
  explicit Stream(std::shared_ptr<StopSwitch> stop);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Puts a task at the end and returns. Errors: ACL_ERROR_RT_STREAM_ABORT if the context was
  /// stopped, ACL_ERROR_RT_INVALID_HANDLE if the stream is being destroyed,
  /// ACL_ERROR_RT_RESOURCE_ALLOC_FAIL if there are no threads. What the task returns is reported by
  /// synchronise().
  Error submit(Task task, OnFailure on_failure = OnFailure::kStreamDecides);
  /// A task that runs even when those before it are dropped: others wait for what it does.
  Error submit_always(std::function<void()> task);

  /// Waits for the tasks submitted so far. Errors: the first failure since the last call (after a
  /// stop: every time), ACL_ERROR_RT_STREAM_ABORT, ACL_ERROR_RT_STREAM_SYNC_TIMEOUT.
  Error synchronise(int timeout_ms);
  bool idle() const;

  /// Drops what has not begun; does not wait.
  void abort();
  /// False if the mode was set before.
  bool set_failure_mode(bool stop_on_failure);

  /// Takes no more tasks, waits for those it has (or drops them), ends the thread. From now on
  /// submit() fails.
  enum class Rest { kRun, kDrop };
  void close(Rest rest);

  /// True in the thread of any stream, where waiting for streams could never end.
  static bool in_task();

 private:
  struct Item {
    Task task;
    OnFailure on_failure = OnFailure::kStreamDecides;
    bool always = false;
  };

  Error push(Item item);
  void work();
  bool next(Item& item);
  void finish(const Item& item, Error error);

  const std::shared_ptr<StopSwitch> stop_;
  mutable std::mutex mutex_;
  std::condition_variable more_, done_;
  std::deque<Item> items_;
  std::thread worker_;
  std::atomic<std::uint64_t> submitted_{0}, finished_{0};
  std::uint64_t aborts_ = 0;
  std::optional<Error> failure_;  // the first since the last synchronise
  bool stop_on_failure_ = false, mode_is_set_ = false, closing_ = false;
};

}  // namespace weft::cann
