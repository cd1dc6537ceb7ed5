// SPDX-License-Identifier: Apache-2.0
// Time that may be spent.
#pragma once

#include <cstdint>

#include "weft/trace.h"

namespace weft::bench {

/// So many seconds from now on; infinity is no bound.
class Budget {
 public:
  explicit Budget(double seconds) : seconds_(seconds) {}
  double passed() const { return static_cast<double>(trace_now_ns() - begin_ns_) * 1e-9; }
  double left() const { return seconds_ - passed(); }

 private:
  double seconds_;
  std::int64_t begin_ns_ = trace_now_ns();
};

}  // namespace weft::bench
