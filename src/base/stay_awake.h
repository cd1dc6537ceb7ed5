// SPDX-License-Identifier: Apache-2.0
// Waiting without sleeping, for what may come sooner than a sleeper would wake.
#pragma once

#include <sched.h>

#include <cstdint>

#include "base/clock.h"
#include "base/pause.h"

namespace weft {

/// Both from the beginning of the wait.
struct AwakeTimes {
  std::int64_t spin_ns;  ///< from then on it yields: the awaited thread may need this core
  std::int64_t most_ns;  ///< from then on sleeping is cheaper
};

/// Waits for done() until the time is over, which has run since `begin_ns`. Returns done(), which
/// is called at least once.
template <typename Done>
bool stay_awake(std::int64_t begin_ns, const AwakeTimes& times, const Done& done) {
  for (std::int64_t waited = 0; waited < times.most_ns; waited = now_ns() - begin_ns) {
    const bool spins = waited < times.spin_ns;
    for (int i = spins ? 16 : 1; i > 0; --i) {  // the clock costs about as much as one pause
      if (done()) return true;
      if (spins)
        cpu_pause();
      else
        sched_yield();
    }
  }
  return done();
}

/// The same with more threads than cores, where a yield hands this one to a thread with work.
template <typename Done>
bool yield_until(int most_yields, const Done& done) {
  for (int i = 0; i < most_yields; ++i) {
    if (done()) return true;
    sched_yield();
  }
  return done();
}

}  // namespace weft
