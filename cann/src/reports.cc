// SPDX-License-Identifier: Apache-2.0
#include "reports.h"

#include <algorithm>
#include <chrono>

namespace weft::cann {

Reports& Reports::instance() {
  static auto* const reports = new Reports;  // streams may still run while main returns
  return *reports;
}

Error Reports::subscribe(std::uint64_t thread, const StreamRef& stream) {
  const std::lock_guard lock(mutex_);
  if (!thread_of_.emplace(stream.get(), thread).second)
    return {ACL_ERROR_RT_STREAM_SUBSCRIBE, "a thread is subscribed to the stream already"};
  return {};
}

Error Reports::unsubscribe(std::uint64_t thread, const StreamRef& stream) {
  const std::lock_guard lock(mutex_);
  const auto found = thread_of_.find(stream.get());
  if (found == thread_of_.end() || found->second != thread)
    return {ACL_ERROR_RT_STREAM_SUBSCRIBE, "this thread is not subscribed to the stream"};
  remove(stream.get(), thread);
  return {};
}

void Reports::forget(const StreamOfContext* stream) {
  const std::lock_guard lock(mutex_);
  const auto found = thread_of_.find(stream);
  if (found != thread_of_.end()) remove(stream, found->second);
}

// The caller holds the mutex. What still waits will not run; a stream that waits for it goes on.
void Reports::remove(const StreamOfContext* stream, std::uint64_t thread) {
  thread_of_.erase(stream);
  Queue& queue = waiting_[thread];
  for (const auto& report : queue) report->over |= report->stream == stream;
  std::erase_if(queue, [](const auto& report) { return report->over; });
  if (!has_streams(thread)) waiting_.erase(thread);
  changed_.notify_all();
}

bool Reports::subscribed(const StreamRef& stream) {
  const std::lock_guard lock(mutex_);
  return thread_of_.contains(stream.get());
}

bool Reports::has_streams(std::uint64_t thread) const {
  return std::any_of(thread_of_.begin(), thread_of_.end(),
                     [&](const auto& entry) { return entry.second == thread; });
}

Error Reports::deliver(const StreamOfContext* stream, aclrtCallback function, void* data,
                       bool block) {
  std::unique_lock lock(mutex_);
  const auto found = thread_of_.find(stream);
  if (found == thread_of_.end())
    return {ACL_ERROR_RT_STREAM_NO_CB_REG,
            "the thread that was subscribed to the stream left before its callback ran"};
  const auto report = std::make_shared<Report>();
  *report = {.function = function, .data = data, .stream = stream};
  waiting_[found->second].push_back(report);
  changed_.notify_all();
  if (block) changed_.wait(lock, [&] { return report->over; });
  return {};
}

Error Reports::process(std::uint64_t thread, int timeout_ms) {
  std::shared_ptr<Report> report;
  {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return !has_streams(thread) || !waiting_[thread].empty(); };
    if (timeout_ms == kForever) {
      changed_.wait(lock, ready);
    } else if (!changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready)) {
      return {ACL_ERROR_WAIT_CALLBACK_TIMEOUT,
              "no callback came in " + std::to_string(timeout_ms) + " ms"};
    }
    if (!has_streams(thread))
      return {ACL_ERROR_RT_THREAD_SUBSCRIBE, "this thread is subscribed to no stream"};
    report = std::move(waiting_[thread].front());
    waiting_[thread].pop_front();
  }
  report->function(report->data);
  const std::lock_guard lock(mutex_);
  report->over = true;
  changed_.notify_all();
  return {};
}

}  // namespace weft::cann
