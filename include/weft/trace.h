// SPDX-License-Identifier: Apache-2.0
// What a rank did when: filled by run() of an operator when its options name a Trace.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "weft/export.h"

namespace weft {

enum class TraceKind : std::uint8_t { kPackA, kGemm, kPublish, kWait, kReduceNorm, kCopy };

WEFT_API std::string_view to_string(TraceKind kind);

/// Nanoseconds of CLOCK_MONOTONIC, which all processes of a host share.
WEFT_API std::int64_t trace_now_ns();

struct TraceEvent {
  TraceKind kind;
  int tile;  ///< super-block, or -1
  int peer;  ///< the rank waited for or read from, or -1
  std::int64_t begin_ns, end_ns;
};

/// Events of one rank in order. Never allocates after construction: what does not fit is counted in
/// dropped().
class Trace {
 public:
  explicit Trace(std::size_t capacity = 1 << 16) { events_.reserve(capacity); }
  void add(const TraceEvent& event) {
    if (events_.size() < events_.capacity())
      events_.push_back(event);
    else
      ++dropped_;
  }
  void clear() { events_.clear(), dropped_ = 0; }
  const std::vector<TraceEvent>& events() const { return events_; }
  std::size_t dropped() const { return dropped_; }

 private:
  std::vector<TraceEvent> events_;
  std::size_t dropped_ = 0;
};

}  // namespace weft
