// SPDX-License-Identifier: Apache-2.0
// Waiting without sleeping for what may come sooner than a sleeper would wake.
#pragma once

#include <chrono>
#include <thread>

namespace weft::python {

/// Every rank has two threads that wait for each other and for those of other ranks, so this is
/// only for machines where each of them has a cpu.
inline bool may_stay_awake(int ranks) {
  static const unsigned cpus = std::thread::hardware_concurrency();
  return cpus >= 2 * static_cast<unsigned>(ranks);
}

/// Waits for done() for about as long as a wake-up takes.
template <typename Done>
void stay_awake(const Done& done) {
  constexpr std::chrono::microseconds kMost(30);
  const auto begin = std::chrono::steady_clock::now();
  while (!done() && std::chrono::steady_clock::now() - begin < kMost) __builtin_ia32_pause();
}

}  // namespace weft::python
