// SPDX-License-Identifier: Apache-2.0
#include "stream.h"

#include <chrono>
#include <system_error>

#include "base/clock.h"
#include "base/stay_awake.h"

namespace weft::cann {
namespace {

thread_local bool this_thread_is_a_stream = false;

// A hand-off between two cores takes well under a microsecond. Then the thread that is awaited may
// need this core, because the program's threads and those of its streams are more than the cores:
// yielding lets it run at once, where spinning on would hold it up until it is over.
constexpr std::int64_t kSpinNs = 2'000;
// A stream without tasks: about what it costs to wake a sleeping thread. Staying awake longer could
// not win.
constexpr AwakeTimes kAwakeIdle{.spin_ns = kSpinNs, .most_ns = 60'000};
// A program that waits for a stream has nothing else to do. Waking it costs 60 us on a virtual
// machine, a quarter of a decode step.
constexpr AwakeTimes kAwakeWaiting{.spin_ns = kSpinNs, .most_ns = 1'000'000};

Error run_guarded(const Task& task) {
  try {
    return task();
  } catch (const std::bad_alloc&) {
    return {ACL_ERROR_RT_MEMORY_ALLOCATION, "out of memory in a task of a stream"};
  } catch (const std::exception& error) {
    return {ACL_ERROR_RT_INTERNAL_ERROR, error.what()};
  }
}

}  // namespace

void StopSwitch::stop(const Error& why) {
  const std::lock_guard lock(mutex_);
  if (stopped_.load(std::memory_order_relaxed)) return;
  why_ = why;
  // Release: partner is the acquire load in stopped(); `why_` is also under the mutex.
  stopped_.store(true, std::memory_order_release);
}

Error StopSwitch::why() const {
  const std::lock_guard lock(mutex_);
  return why_;
}

Stream::Stream(std::shared_ptr<StopSwitch> stop) : stop_(std::move(stop)) {}

Stream::~Stream() { close(Rest::kRun); }

bool Stream::in_task() { return this_thread_is_a_stream; }

Error Stream::submit(Task task, OnFailure on_failure) {
  return push({.task = std::move(task), .on_failure = on_failure});
}

Error Stream::submit_always(std::function<void()> task) {
  return push({.task =
                   [run = std::move(task)] {
                     run();
                     return Error();
                   },
               .always = true});
}

Error Stream::push(Item item) {
  if (stop_->stopped())
    return {ACL_ERROR_RT_STREAM_ABORT,
            "the context takes no more tasks, because one failed under ACL_STOP_ON_FAILURE: " +
                stop_->why().message};
  const std::lock_guard lock(mutex_);
  if (closing_) return {ACL_ERROR_RT_INVALID_HANDLE, "the stream is being destroyed"};
  if (!worker_.joinable()) {
    try {
      worker_ = std::thread([this] { work(); });
    } catch (const std::system_error& error) {
      return {ACL_ERROR_RT_RESOURCE_ALLOC_FAIL,
              std::string("the system refused a thread for the stream: ") + error.what()};
    }
  }
  items_.push_back(std::move(item));
  // Release: partner is the acquire load of the spinning worker, which then takes the mutex.
  submitted_.fetch_add(1, std::memory_order_release);
  more_.notify_one();
  return {};
}

void Stream::work() {
  this_thread_is_a_stream = true;
  Item item;
  while (next(item)) {
    const bool run = item.always || !stop_->stopped();
    Error error = run ? run_guarded(item.task) : Error();
    item.task = nullptr;  // what it holds has gone when a synchronise returns
    finish(item, std::move(error));
  }
}

bool Stream::next(Item& item) {
  stay_awake(now_ns(), kAwakeIdle, [this] {
    return submitted_.load(std::memory_order_acquire) != finished_.load(std::memory_order_relaxed);
  });
  std::unique_lock lock(mutex_);
  more_.wait(lock, [this] { return !items_.empty() || closing_; });
  if (items_.empty()) return false;
  item = std::move(items_.front());
  items_.pop_front();
  return true;
}

void Stream::finish(const Item& item, Error error) {
  const std::lock_guard lock(mutex_);
  if (!error.ok()) {
    if (stop_on_failure_ || item.on_failure == OnFailure::kStop) stop_->stop(error);
    if (!failure_) failure_ = std::move(error);
  }
  // Release: partner is the acquire load of a spinning synchronise(); it then sees all that the
  // tasks wrote.
  finished_.fetch_add(1, std::memory_order_release);
  done_.notify_all();
}

Error Stream::synchronise(int timeout_ms) {
  const std::uint64_t wanted = submitted_.load(std::memory_order_acquire);
  const auto reached = [&] { return finished_.load(std::memory_order_acquire) >= wanted; };
  if (timeout_ms != 0) stay_awake(now_ns(), kAwakeWaiting, reached);
  std::unique_lock lock(mutex_);
  const std::uint64_t aborts = aborts_;
  const auto over = [&] { return reached() || aborts_ != aborts; };
  if (timeout_ms == kForever) {
    done_.wait(lock, over);
  } else if (!done_.wait_for(lock, std::chrono::milliseconds(timeout_ms), over)) {
    return {ACL_ERROR_RT_STREAM_SYNC_TIMEOUT,
            "tasks of the stream still run after " + std::to_string(timeout_ms) + " ms"};
  }
  if (aborts_ != aborts) return {ACL_ERROR_RT_STREAM_ABORT, "the stream was aborted"};
  if (stop_->stopped()) return stop_->why();
  Error failure = failure_.value_or(Error());
  failure_.reset();
  return failure;
}

bool Stream::idle() const {
  return finished_.load(std::memory_order_acquire) == submitted_.load(std::memory_order_acquire);
}

void Stream::abort() {
  std::deque<Item> dropped;  // destroyed without the mutex: what tasks hold may be large
  const std::lock_guard lock(mutex_);
  std::deque<Item> kept;
  for (Item& item : items_) (item.always ? kept : dropped).push_back(std::move(item));
  items_ = std::move(kept);
  finished_.fetch_add(dropped.size(), std::memory_order_release);
  ++aborts_;
  failure_.reset();
  done_.notify_all();
}

bool Stream::set_failure_mode(bool stop_on_failure) {
  const std::lock_guard lock(mutex_);
  if (mode_is_set_) return false;
  mode_is_set_ = true;
  stop_on_failure_ = stop_on_failure;
  return true;
}

void Stream::close(Rest rest) {
  std::thread worker;
  if (rest == Rest::kDrop) abort();
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    worker.swap(worker_);
    more_.notify_one();
  }
  if (worker.joinable()) worker.join();
}

}  // namespace weft::cann
