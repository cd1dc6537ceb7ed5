// SPDX-License-Identifier: Apache-2.0
// The system calls under waiting.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <cstdint>

namespace weft::internal {

/// Sleeps while the word is `expected`, at most `ns`. Returns early for any reason: the caller
/// looks again.
inline void futex_wait(const void* word, std::uint32_t expected, std::int64_t ns,
                       bool process_private) {
  const timespec limit{static_cast<time_t>(ns / 1'000'000'000),
                       static_cast<long>(ns % 1'000'000'000)};
  syscall(SYS_futex, word, process_private ? FUTEX_WAIT_PRIVATE : FUTEX_WAIT, expected, &limit,
          nullptr, 0);
}

inline void futex_wake_all(const void* word, bool process_private) {
  syscall(SYS_futex, word, process_private ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE, INT_MAX, nullptr,
          nullptr, 0);
}

}  // namespace weft::internal
