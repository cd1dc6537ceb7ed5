// SPDX-License-Identifier: Apache-2.0
// What every transport must do, whatever it is made of. Ranks are threads here; processes_test.cc
// has the same ranks as processes.
#include "conformance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "comm/group_state.h"

namespace weft {
namespace {

using internal::CallHeader;
using internal::CounterId;
using internal::GroupState;
using std::chrono::milliseconds;
using testing::on_all;
using testing::quick_options;

class Conformance : public testing::OverTransports {};
INSTANTIATE_TEST_SUITE_P(Transports, Conformance, ::testing::ValuesIn(testing::transports()),
                         testing::transport_name);

TEST_P(Conformance, KnowsItself) {
  GroupOptions options = quick_options();
  options.name = "a name";
  options.window_bytes = 5000;  // rounded up to pages
  std::vector<Group> groups = make(3, options);
  ASSERT_EQ(groups.size(), 3u);
  for (int rank = 0; rank < 3; ++rank) {
    const Group& group = groups[static_cast<std::size_t>(rank)];
    EXPECT_EQ(group.rank(), rank);
    EXPECT_EQ(group.ranks(), 3);
    EXPECT_EQ(group.name(), "a name");
    EXPECT_EQ(group.window_bytes(), 8192);
    EXPECT_EQ(group.transport(), GetParam());
    EXPECT_TRUE(group.health().ok());
  }
}

TEST_P(Conformance, SaysHowMuchOfItsWindowIsInMemory) {
  constexpr std::int64_t kMiB = 1 << 20;
  GroupOptions options = quick_options();
  options.window_bytes = 9 * kMiB;
  std::vector<Group> groups = make(3, options);
  ASSERT_EQ(groups.size(), 3u);
  std::memset(groups[1].state().window(1) + 2 * kMiB, 1, 4 * kMiB);
  for (const Group& group : groups) {
    const Result<MemoryUse> use = group.memory_use();
    ASSERT_TRUE(use.ok()) << use.status().to_string();
    EXPECT_EQ(use->bytes, 10 * kMiB);  // whole huge pages
    EXPECT_EQ(use->resident_bytes, group.rank() == 1 ? 4 * kMiB : 0);
    EXPECT_LE(use->huge_page_bytes, use->resident_bytes);
  }
}

TEST_P(Conformance, ManyRanksMeetInBarriers) {
  for (const int ranks : {1, 2, 3, 8, 16, 64}) {
    std::vector<Group> groups = make(ranks);
    ASSERT_EQ(static_cast<int>(groups.size()), ranks);
    std::atomic<int> inside{0};
    on_all(groups, [&](Group& group) {
      for (int round = 1; round <= 3; ++round) {
        inside.fetch_add(1);
        const Status status = group.barrier();
        EXPECT_TRUE(status.ok()) << status.to_string();
        EXPECT_GE(inside.load(), round * ranks);
      }
    });
  }
}

TEST_P(Conformance, TenThousandBarriersOfTwo) {
  std::vector<Group> groups = make(2);
  on_all(groups, [](Group& group) {
    for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(group.barrier().ok());
  });
}

TEST_P(Conformance, HundredBarriersOfSixteen) {
  std::vector<Group> groups = make(16);
  on_all(groups, [](Group& group) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(group.barrier().ok());
  });
}

/// Fills a window with bytes that depend on everything, so a stale or foreign byte shows.
std::uint64_t pattern(std::uint64_t seed, int rank, std::uint64_t round, std::int64_t index) {
  std::uint64_t x = seed + static_cast<std::uint64_t>(rank) * 0x9e3779b97f4a7c15 +
                    round * 0x2545f491 + static_cast<std::uint64_t>(index);
  x ^= x >> 31;
  return x * 0xd6e8feb86659fd93;
}

TEST_P(Conformance, DataWrittenBeforePublishIsSeenAfterWait) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr int kRanks = 3;
  constexpr std::uint64_t kRounds = 2000;
  constexpr std::int64_t kWords = 64;
  std::vector<Group> groups = make(kRanks);
  on_all(groups, [&](Group& group) {
    GroupState& state = group.state();
    ASSERT_TRUE(state.begin_call(CallHeader("ordering")).ok());
    ASSERT_TRUE(state.check_peers().ok());
    int wrong = 0;
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
      // Two slots in turn, so that the slot of this round is free: all consumed round - 2.
      ASSERT_TRUE(round < 3 || state.wait_all(CounterId::kConsumed, round - 2, {"the slot"}).ok());
      const std::size_t slot = round % 2 * kWords;
      auto* mine = reinterpret_cast<std::uint64_t*>(state.window(state.rank())) + slot;
      for (std::int64_t i = 0; i < kWords; ++i) mine[i] = pattern(seed, state.rank(), round, i);
      state.publish(CounterId::kPartial, round);
      for (int step = 1; step < kRanks; ++step) {
        const int peer = (state.rank() + step) % kRanks;
        ASSERT_TRUE(state.wait(peer, CounterId::kPartial, round, {"the data"}).ok());
        const auto* theirs = reinterpret_cast<const std::uint64_t*>(state.window(peer)) + slot;
        for (std::int64_t i = 0; i < kWords; ++i)
          wrong += theirs[i] != pattern(seed, peer, round, i);
      }
      state.publish(CounterId::kConsumed, round);
    }
    EXPECT_EQ(wrong, 0);
    state.end_call();
  });
}

TEST_P(Conformance, WindowsAreSeparateAndWhole) {
  std::vector<Group> groups = make(3);
  on_all(groups, [](Group& group) {
    GroupState& state = group.state();
    std::memset(state.window(state.rank()), 'a' + state.rank(),
                static_cast<std::size_t>(state.window_bytes()));
    ASSERT_TRUE(group.barrier().ok());
    for (int peer = 0; peer < 3; ++peer) {
      const std::byte* window = state.window(peer);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(window) % 4096, 0u);
      for (std::int64_t i = 0; i < state.window_bytes(); ++i)
        ASSERT_EQ(static_cast<char>(window[i]), 'a' + peer) << i;
    }
    ASSERT_TRUE(group.barrier().ok());
  });
}

TEST_P(Conformance, CountersAreSeparateAndKeepTheirValue) {
  std::vector<Group> groups = make(2);
  on_all(groups, [](Group& group) {
    GroupState& state = group.state();
    const int peer = 1 - state.rank();
    // Beyond 32 bits, whose low half the kernel compares, and past a change of the high half.
    const std::uint64_t big = (std::uint64_t{1} << 32) - 1;
    state.publish(CounterId::kPartial, big);
    EXPECT_TRUE(state.wait(peer, CounterId::kPartial, big, {"a"}).ok());
    state.publish(CounterId::kReduced, 7);
    state.publish(CounterId::kPartial, big + 1);
    EXPECT_TRUE(state.wait(peer, CounterId::kPartial, big + 1, {"b"}).ok());
    EXPECT_TRUE(state.wait(peer, CounterId::kReduced, 7, {"c"}).ok());
    EXPECT_EQ(state.peek(peer, CounterId::kPartial), big + 1);
    EXPECT_EQ(state.peek(peer, CounterId::kReduced), 7u);
    EXPECT_EQ(state.peek(peer, CounterId::kConsumed), 0u);
    EXPECT_EQ(state.own(CounterId::kPartial), big + 1);
    EXPECT_TRUE(
        state.wait(peer, CounterId::kConsumed, 0, {"nothing"}).ok());  // zero is always there
  });
}

TEST_P(Conformance, SlowPeerIsWaitedFor) {
  std::vector<Group> groups = make(3);
  on_all(groups, [](Group& group) {
    // Long enough for the others to go through spinning and yielding and sleep for several slices.
    if (group.rank() == 1) std::this_thread::sleep_for(milliseconds(150));
    const Status status = group.barrier();
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
}

TEST_P(Conformance, PublishingWakesASleeper) {
  constexpr int kRounds = 21;
  std::vector<Group> groups = make(2);
  std::atomic<std::uint64_t> waiting{0};
  std::atomic<std::int64_t> published_ns{0};
  std::vector<std::int64_t> late_ns;
  const auto now = [] {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  };
  on_all(groups, [&](Group& group) {
    GroupState& state = group.state();
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
      if (state.rank() == 0) {
        waiting = round;
        ASSERT_TRUE(state.wait(1, CounterId::kPartial, round, {"x"}).ok());
        late_ns.push_back(now() - published_ns);
      } else {
        do std::this_thread::sleep_for(milliseconds(3));
        while (waiting < round);
        published_ns = now();
        state.publish(CounterId::kPartial, round);
      }
    }
  });
  // Unwoken, it would sleep on to the end of its slice, 17 ms later.
  std::nth_element(late_ns.begin(), late_ns.begin() + kRounds / 2, late_ns.end());
  EXPECT_LT(late_ns[kRounds / 2], 10'000'000);
}

TEST_P(Conformance, ManyThreadsOfARankMayWait) {
  std::vector<Group> groups = make(2);
  on_all(groups, [](Group& group) {
    GroupState& state = group.state();
    ASSERT_TRUE(group.barrier().ok());
    if (state.rank() == 0) {
      testing::run_threads(4, [&](int thread) {
        for (std::uint64_t value = 1; value <= 50; ++value)
          EXPECT_TRUE(state.wait(1, CounterId::kPartial, value, {"x", thread}).ok());
      });
    } else {
      for (std::uint64_t value = 1; value <= 50; ++value) {
        if (value % 10 == 0) std::this_thread::sleep_for(milliseconds(3));
        state.publish(CounterId::kPartial, value);
      }
    }
    ASSERT_TRUE(group.barrier().ok());
  });
}

}  // namespace
}  // namespace weft
