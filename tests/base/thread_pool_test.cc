// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/topology.h"

namespace weft {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunsEveryIndexExactlyOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (const std::int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
    // One more than count on each side: an index out of range shows.
    std::vector<std::atomic<int>> calls(static_cast<size_t>(count) + 2);
    std::atomic<bool> threads_in_range{true};
    pool.parallel_for(count, [&](std::int64_t index, int thread) {
      calls.at(static_cast<size_t>(index + 1)).fetch_add(1, std::memory_order_relaxed);
      if (thread < 0 || thread >= pool.threads()) threads_in_range = false;
    });
    EXPECT_TRUE(threads_in_range);
    EXPECT_EQ(calls.front(), 0);
    EXPECT_EQ(calls.back(), 0);
    for (std::int64_t i = 0; i < count; ++i)
      ASSERT_EQ(calls[static_cast<size_t>(i + 1)], 1) << "index " << i << " of " << count;
  }
}

// Plain memory on purpose: the thread sanitizer sees whether the fork and the join order it.
TEST_P(ThreadPoolTest, LoopsSeeEachOthersPlainWrites) {
  ThreadPool pool(GetParam());
  constexpr int kCells = 37, kLoops = 2000;
  std::vector<std::int64_t> from(kCells), to(kCells);
  for (int i = 0; i < kCells; ++i) from[i] = i;
  for (int loop = 0; loop < kLoops; ++loop) {
    pool.parallel_for(kCells, [&](std::int64_t i, int) { to[i] = from[(i + 1) % kCells] + 1; });
    std::swap(from, to);
  }
  for (int i = 0; i < kCells; ++i) ASSERT_EQ(from[i], (i + kLoops) % kCells + kLoops);
}

TEST_P(ThreadPoolTest, ManySmallLoopsOfChangingSizeAndBody) {
  ThreadPool pool(GetParam());
  std::int64_t expected = 0;
  std::atomic<std::int64_t> sum{0};
  for (int loop = 0; loop < 5000; ++loop) {
    const std::int64_t count = loop % 9;
    if (loop % 2 == 0) {
      pool.parallel_for(count, [&](std::int64_t index, int) { sum += index + 1; });
      expected += count * (count + 1) / 2;
    } else {  // another body with another capture: mixing up two loops would add nonsense
      pool.parallel_for(count, [&sum, loop](std::int64_t, int) { sum += loop; });
      expected += count * loop;
    }
    ASSERT_EQ(sum.load(), expected) << "after loop " << loop;
  }
}

TEST_P(ThreadPoolTest, IndicesRiseOnEveryThread) {
  ThreadPool pool(GetParam());
  std::vector<std::int64_t> last(static_cast<size_t>(GetParam()), -1);
  std::atomic<bool> rising{true};
  pool.parallel_for(10000, [&](std::int64_t index, int thread) {
    if (index <= last[static_cast<size_t>(thread)]) rising = false;
    last[static_cast<size_t>(thread)] = index;
  });
  EXPECT_TRUE(rising);
}

INSTANTIATE_TEST_SUITE_P(FewerAndMoreThreadsThanCores, ThreadPoolTest,
                         testing::Values(1, 2, 3, 8, 40), testing::PrintToStringParamName());

TEST(ThreadPool, EveryThreadTakesPart) {
  ThreadPool pool(4);
  // Each index waits until all four have begun, so one thread alone could not finish.
  std::atomic<int> begun{0};
  pool.parallel_for(4, [&](std::int64_t, int) {
    const int mine = ++begun;
    for (int now = mine; now < 4; now = begun.load()) begun.wait(now);
    begun.notify_all();
  });
  EXPECT_EQ(begun, 4);
}

TEST(ThreadPool, VeryShortLoopsStayOnTheCallingThread) {
  ThreadPool::share_every_loop(false);
  ThreadPool pool(4);
  EXPECT_EQ(pool.threads_for(100), 1);
  EXPECT_EQ(pool.threads_for(1e9), 4);
  std::atomic<int> elsewhere{0};
  for (int loop = 0; loop < 100; ++loop)
    pool.parallel_for(
        100, [&](std::int64_t, int thread) { elsewhere += thread > 0; }, 100);
  EXPECT_EQ(elsewhere, 0);
  ThreadPool::share_every_loop(true);
  EXPECT_EQ(pool.threads_for(100), 4);
}

TEST(ThreadPool, ShortLoopsThatFollowEachOtherAreShared) {
  ThreadPool::share_every_loop(false);
  ThreadPool pool(4);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the workers sleep
  std::atomic<int> elsewhere{0};
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (elsewhere == 0 && std::chrono::steady_clock::now() < end)
    pool.parallel_for(
        1000, [&](std::int64_t, int thread) { elsewhere += thread > 0; }, 20'000);
  EXPECT_GT(elsewhere, 0);
  ThreadPool::share_every_loop(true);
}

TEST(ThreadPool, StartsAndStopsManyTimes) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 5);
    std::atomic<int> calls{0};
    if (i % 3 != 0) pool.parallel_for(i % 7, [&](std::int64_t, int) { ++calls; });
    EXPECT_EQ(calls, i % 3 != 0 ? i % 7 : 0);
  }
}

TEST(ThreadPool, PinnedThreadsStillRunEverything) {
  std::atomic<int> calls{0};
  // In a thread of its own: pinning binds the constructing thread too.
  std::thread([&] {
    const std::vector<int> cpus = topology().allowed_cpus;
    ThreadPool pool(3, cpus);
    pool.parallel_for(100, [&](std::int64_t, int thread) {
      ++calls;
      EXPECT_EQ(sched_getcpu(), cpus[static_cast<std::size_t>(thread) % cpus.size()]);
    });
  }).join();
  EXPECT_EQ(calls, 100);
}

// A pool whose workers the child does not have.
TEST(ThreadPool, AForkedChildComputesAlone) {
  auto pool = std::make_unique<ThreadPool>(4);
  std::atomic<int> sum{0};
  const auto add = [&](std::int64_t index, int) { sum += static_cast<int>(index); };
  pool->parallel_for(100, add);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // ends a child that hangs
    pool->parallel_for(100, [&](std::int64_t index, int thread) {
      add(index, thread);
      if (thread != 0) _exit(2);
    });
    const bool right = sum == 2 * 4950;
    pool.reset();
    _exit(right ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  pool->parallel_for(100, add);
  EXPECT_EQ(sum, 2 * 4950);
}

}  // namespace
}  // namespace weft
