// SPDX-License-Identifier: Apache-2.0
// How long a rank that waits spins, yields and sleeps.
#pragma once

#include <cstdint>

#include "base/stay_awake.h"

namespace weft::internal {

// A flag that is about to be set arrives within a cache miss or two (0.14 us on one socket); a peer
// that takes longer than this computes.
inline constexpr std::int64_t kSpinNs = 3'000;
// Waking a sleeper costs 30-50 us. Ranks end their products of a decode step, a millisecond, up to
// a tenth of it apart, and who waits for that has nothing else to do with its core: others get it
// at each yield.
inline constexpr std::int64_t kYieldNs = 300'000;
// With more ranks than CPUs a yield hands the core to a rank that has work; after a few of them
// without success sleeping is cheaper for all.
inline constexpr int kYieldsOversubscribed = 4;
// Bounds how late a departure or a missed wake-up is noticed.
inline constexpr std::int64_t kSliceNs = 20'000'000;
// Bounds how late a death is noticed: far below one second, yet the looks of 64 sleeping ranks (10
// us each) take less than a hundredth of a core.
inline constexpr std::int64_t kLookNs = 100'000'000;

/// What a rank does before it sleeps, in a wait that began at `begin_ns`. Returns done().
template <typename Done>
bool wait_awake(bool oversubscribed, std::int64_t begin_ns, const Done& done) {
  return oversubscribed ? yield_until(kYieldsOversubscribed, done)
                        : stay_awake(begin_ns, {.spin_ns = kSpinNs, .most_ns = kYieldNs}, done);
}

}  // namespace weft::internal
