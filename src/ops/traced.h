// SPDX-License-Identifier: Apache-2.0
// Notes what a rank does until the end of a scope, if the call is traced.
#pragma once

#include <cstdint>

#include "weft/trace.h"

namespace weft::ops {

class Traced {
 public:
  /// `trace` may be null. `tile` and `peer` as in TraceEvent.
  Traced(Trace* trace, TraceKind kind, std::int64_t tile, int peer = -1)
      : trace_(trace), event_{kind, static_cast<int>(tile), peer, trace_ ? trace_now_ns() : 0, 0} {}
  ~Traced() {
    if (!trace_) return;
    event_.end_ns = trace_now_ns();
    trace_->add(event_);
  }
  Traced(const Traced&) = delete;
  Traced& operator=(const Traced&) = delete;

 private:
  Trace* trace_;
  TraceEvent event_;
};

}  // namespace weft::ops
