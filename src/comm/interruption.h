// SPDX-License-Identifier: Apache-2.0
// Whether the program wants its waits to end (GroupOptions::interrupted).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "base/clock.h"

namespace weft::internal {

/// The reason that is given then.
inline constexpr std::string_view kInterrupted = "interrupted";

class Interruption {
 public:
  // Often enough that a wait seems to end at once, and seldom enough that the question may take a
  // lock, as Python's does.
  static constexpr std::int64_t kAskNs = 20'000'000;

  /// Null: it never happens.
  explicit Interruption(std::function<bool()> question) : question_(std::move(question)) {}

  bool possible() const { return question_ != nullptr; }
  /// An earlier ask() has found it.
  bool happened() const { return happened_.load(std::memory_order_relaxed); }

  /// For a thread that is about to sleep. Asks the program, unless that was done within kAskNs.
  bool ask() {
    if (!possible() || happened()) return happened();
    const std::int64_t now = now_ns();
    if (now - asked_ns_.load(std::memory_order_relaxed) < kAskNs) return false;
    asked_ns_.store(now, std::memory_order_relaxed);
    if (question_()) happened_.store(true, std::memory_order_relaxed);
    return happened();
  }

 private:
  const std::function<bool()> question_;
  // A rank has one calling thread; atomic so that two would ask too often at worst.
  std::atomic<std::int64_t> asked_ns_{0};
  std::atomic<bool> happened_{false};
};

}  // namespace weft::internal
