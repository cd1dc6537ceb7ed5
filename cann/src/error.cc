// SPDX-License-Identifier: Apache-2.0
#include "error.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>

#include "base/log.h"

namespace weft::cann {
namespace {

// Enough for the chain of one failed call; a program that never asks must not fill the memory.
constexpr std::size_t kMostMessages = 32;

class Messages {
 public:
  void add(std::string message) {
    if (newest_first_.size() == kMostMessages) newest_first_.pop_back();
    newest_first_.push_front(std::move(message));
  }
  std::string take() {
    std::string text;
    for (const std::string& message : newest_first_) text += message + '\n';
    newest_first_.clear();
    return text;
  }

 private:
  std::deque<std::string> newest_first_;
};

struct ProcessMessages {
  std::mutex mutex;
  Messages messages;
  std::atomic<MessageScope> scope{MessageScope::kThread};
};

ProcessMessages& of_process() {
  static auto* const messages = new ProcessMessages;  // threads may still fail while main returns
  return *messages;
}

thread_local Messages of_thread;
thread_local const char* current_function = "weft";
thread_local int last_code = ACL_SUCCESS;

}  // namespace

Error::Error(const Status& status) {
  if (status.ok()) return;
  code = task_code(status.code());
  message = status.to_string();
}

int task_code(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return ACL_SUCCESS;
    case StatusCode::kTimeout:
      return ACL_ERROR_RT_AICORE_TIMEOUT;
    case StatusCode::kOutOfMemory:
      return ACL_ERROR_RT_MEMORY_ALLOCATION;
    case StatusCode::kPeerLost:
      return ACL_ERROR_RT_AICPU_EXCEPTION;
    case StatusCode::kInternal:
      return ACL_ERROR_RT_INTERNAL_ERROR;
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnimplemented:
    case StatusCode::kMismatch:
      break;
  }
  return ACL_ERROR_RT_AICORE_EXCEPTION;
}

Entry::Entry(const char* function) : outer_(std::exchange(current_function, function)) {}
Entry::~Entry() { current_function = outer_; }

int fail(int code, const std::string& message) {
  std::string text = fmt::format("{}: error {}: {}", current_function, code, message);
  log::print(LogLevel::kError, "{}", text);
  ProcessMessages& process = of_process();
  if (process.scope.load(std::memory_order_relaxed) == MessageScope::kThread) {
    of_thread.add(std::move(text));
  } else {
    const std::lock_guard lock(process.mutex);
    process.messages.add(std::move(text));
  }
  return code;
}

void set_message_scope(MessageScope scope) {
  of_process().scope.store(scope, std::memory_order_relaxed);
}

std::string take_messages() {
  ProcessMessages& process = of_process();
  if (process.scope.load(std::memory_order_relaxed) == MessageScope::kThread)
    return of_thread.take();
  const std::lock_guard lock(process.mutex);
  return process.messages.take();
}

int last_error() { return last_code; }
void set_last_error(int code) { last_code = code; }

}  // namespace weft::cann
