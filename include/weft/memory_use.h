// SPDX-License-Identifier: Apache-2.0
// MemoryUse: what the operating system has given for a window or a packed weight.
#pragma once

#include <cstdint>

namespace weft {

/// Found when asked, by reading /proc/self/smaps: milliseconds in a large process, so nothing for
/// the way of a call. docs/binding.md says what to do where huge pages are missing.
struct MemoryUse {
  std::int64_t bytes = 0;           ///< of addresses: whole pages
  std::int64_t resident_bytes = 0;  ///< of those, in memory: pages that somebody has touched
  /// Of those, reached through huge pages in this process. Where it is less than resident_bytes,
  /// the kernel gave small pages, whatever was asked for.
  std::int64_t huge_page_bytes = 0;
};

}  // namespace weft
