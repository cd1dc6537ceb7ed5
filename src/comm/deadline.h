// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/clock.h"

namespace weft::internal {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

/// `seconds` from now. Never if they are negative, or more than a century, whose nanoseconds could
/// overflow the clock.
inline std::int64_t deadline_after(double seconds) {
  return seconds < 0 || seconds > 3e9
             ? kNever
             : now_ns() + static_cast<std::int64_t>(std::ceil(seconds * 1e9));
}

}  // namespace weft::internal
