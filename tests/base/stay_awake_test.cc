// SPDX-License-Identifier: Apache-2.0
#include "base/stay_awake.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <thread>

namespace weft {
namespace {

constexpr std::int64_t kHourNs = 3'600'000'000'000;

/// done() from the n-th look on; counts the looks.
struct DoneAt {
  std::int64_t n;
  std::int64_t looks = 0;
  bool operator()() { return ++looks >= n; }
};

TEST(StayAwake, EndsWithTheFirstLookThatIsDone) {
  for (const std::int64_t n : {1, 2, 5, 16, 17, 40}) {
    DoneAt spinning{n}, yielding{n};
    EXPECT_TRUE(stay_awake(now_ns(), {kHourNs, kHourNs}, [&] { return spinning(); }));
    EXPECT_TRUE(stay_awake(now_ns(), {0, kHourNs}, [&] { return yielding(); }));
    EXPECT_EQ(spinning.looks, n);
    EXPECT_EQ(yielding.looks, n);
  }
}

TEST(StayAwake, GivesUpWhenTheTimeIsOver) {
  constexpr std::int64_t kMostNs = 2'000'000;
  for (const std::int64_t spin_ns : {std::int64_t{0}, kMostNs / 2, kMostNs}) {
    const std::int64_t begin = now_ns();
    DoneAt never{kHourNs};
    EXPECT_FALSE(stay_awake(begin, {spin_ns, kMostNs}, [&] { return never(); }));
    EXPECT_GE(now_ns() - begin, kMostNs);
    EXPECT_GE(never.looks, 2);
  }
}

TEST(StayAwake, TimeRunsFromTheBeginningThatIsGiven) {
  DoneAt never{kHourNs};
  EXPECT_FALSE(stay_awake(now_ns() - kHourNs, {kHourNs, kHourNs}, [&] { return never(); }));
  EXPECT_LE(never.looks, 20);
}

TEST(StayAwake, LooksOnceWithoutTime) {
  EXPECT_TRUE(stay_awake(now_ns(), {0, 0}, [] { return true; }));
  EXPECT_FALSE(stay_awake(now_ns(), {0, 0}, [] { return false; }));
  EXPECT_TRUE(yield_until(0, [] { return true; }));
}

TEST(StayAwake, YieldsAreCounted) {
  DoneAt never{kHourNs}, last{5};
  EXPECT_FALSE(yield_until(4, [&] { return never(); }));
  EXPECT_EQ(never.looks, 5);
  EXPECT_TRUE(yield_until(4, [&] { return last(); }));
}

/// Two threads on one CPU that await each other in turn, by wait(done); their looks for one turn.
template <typename Wait>
double looks_for_a_turn(const Wait& wait) {
  constexpr int kTurns = 200;
  std::atomic<int> turn{0};
  std::atomic<std::int64_t> looks{0};
  const auto play = [&](int me) {
    cpu_set_t one, allowed;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
      if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &one);
    EXPECT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    for (int mine = me; mine < kTurns; mine += 2) {
      wait([&] {
        ++looks;
        return turn == mine;
      });
      ++turn;
    }
  };
  std::thread first(play, 0), second(play, 1);
  first.join();
  second.join();
  return static_cast<double>(looks) / kTurns;
}

// Who spins looks a hundred thousand times before the system takes the CPU away.
TEST(StayAwake, YieldsToTheThreadThatIsAwaited) {
  const auto awake = [](const auto& done) { stay_awake(now_ns(), {0, kHourNs}, done); };
  const auto yields = [](const auto& done) {
    while (!yield_until(4, done)) continue;
  };
  EXPECT_LE(looks_for_a_turn(awake), 500);
  EXPECT_LE(looks_for_a_turn(yields), 500);
}

}  // namespace
}  // namespace weft
