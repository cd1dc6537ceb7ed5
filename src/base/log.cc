// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <cstdio>
#include <mutex>

#include "base/env.h"

namespace weft {
namespace {

// The one piece of process-wide state besides tables: who listens.
struct Listener {
  std::mutex mutex;
  LogCallback callback;
  bool is_default = true;
};
Listener& listener() {
  static Listener instance;
  return instance;
}

int verbosity() {
  static const int level = [] {
    auto value = env::integer("WEFT_VERBOSE", 0, 3);
    return value.ok() ? static_cast<int>(*value) : 1;
  }();
  return level;
}

bool default_lets_through(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
    case LogLevel::kWarning:
      return verbosity() >= 1;
    case LogLevel::kInfo:
      return verbosity() >= 2;
    case LogLevel::kDebug:
      return verbosity() >= 3;
  }
  return false;
}

}  // namespace

void set_log_callback(LogCallback callback) {
  std::lock_guard lock(listener().mutex);
  listener().callback = std::move(callback);
  listener().is_default = false;
}

namespace log {

bool enabled(LogLevel level) {
  std::lock_guard lock(listener().mutex);
  return listener().is_default ? default_lets_through(level) : listener().callback != nullptr;
}

void write(LogLevel level, std::string_view text) {
  std::lock_guard lock(listener().mutex);
  if (!listener().is_default) {
    if (listener().callback) listener().callback(level, text);
    return;
  }
  static constexpr const char* kNames[] = {"error", "warning", "info", "debug"};
  fmt::print(stderr, "weft {}: {}\n", kNames[static_cast<int>(level)], text);
}

}  // namespace log
}  // namespace weft
