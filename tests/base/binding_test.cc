// SPDX-License-Identifier: Apache-2.0
// Which cpus ranks get, on machines that hwloc makes up.
#include "base/binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/affinity.h"
#include "base/hwloc_topology.h"
#include "base/topology.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using Cpus = std::vector<int>;

Cpus from_to(int first, int last) {
  Cpus cpus(static_cast<std::size_t>(last - first + 1));
  std::iota(cpus.begin(), cpus.end(), first);
  return cpus;
}

// Of all cpus of a machine, or those allowed.
std::vector<Cpus> deal(const std::string& machine, int ranks, Bind bind,
                       const Cpus& allowed = from_to(0, 255)) {
  const HwlocTopology made = load_hwloc(machine);
  EXPECT_TRUE(made) << machine;
  return cpus_of_ranks(made.get(), allowed, ranks, bind);
}

constexpr const char* kTwoSockets = "pack:2 [numa] core:4 pu:1";
// As servers often number them: 0-7 are the first threads of all cores, 8-15 the second ones.
constexpr const char* kTwoThreads =
    "pack:2 [numa] core:4 pu:2(indexes=0,8,1,9,2,10,3,11,4,12,5,13,6,14,7,15)";
// Cpu 0 is in the first socket, 1 in the second, 2 in the first.
constexpr const char* kAlternating = "pack:2 [numa] core:4 pu:1(indexes=0,2,4,6,1,3,5,7)";

TEST(CpusOfRanks, RanksOfASocketShareItsCpus) {
  const Cpus first = from_to(0, 3), second = from_to(4, 7);
  EXPECT_THAT(deal(kTwoSockets, 2, Bind::kSocket), ElementsAre(first, second));
  EXPECT_THAT(deal(kTwoSockets, 4, Bind::kSocket), ElementsAre(first, first, second, second));
  EXPECT_THAT(deal(kTwoSockets, 3, Bind::kNuma), ElementsAre(first, first, second));
}

TEST(CpusOfRanks, NodesOfASocketAreTheirOwnPlaces) {
  constexpr const char* kTwoNodesEach = "pack:2 group:2 [numa] core:2 pu:1";
  const Cpus whole = from_to(0, 3), other = from_to(4, 7);
  EXPECT_THAT(deal(kTwoNodesEach, 4, Bind::kSocket), ElementsAre(whole, whole, other, other));
  EXPECT_THAT(deal(kTwoNodesEach, 4, Bind::kNuma),
              ElementsAre(Cpus{0, 1}, Cpus{2, 3}, Cpus{4, 5}, Cpus{6, 7}));
}

TEST(CpusOfRanks, FewerRanksThanSocketsLeaveNoCpuOut) {
  EXPECT_THAT(deal(kTwoSockets, 1, Bind::kSocket), ElementsAre(from_to(0, 7)));
  EXPECT_THAT(deal("pack:4 [numa] core:2 pu:1", 2, Bind::kSocket),
              ElementsAre(from_to(0, 3), from_to(4, 7)));
}

TEST(CpusOfRanks, CoresAreDealtOutWithinTheirNode) {
  EXPECT_THAT(deal(kTwoSockets, 4, Bind::kCore),
              ElementsAre(Cpus{0, 1}, Cpus{2, 3}, Cpus{4, 5}, Cpus{6, 7}));
  // Two of three share a socket; none is in both.
  EXPECT_THAT(deal(kTwoSockets, 3, Bind::kCore),
              ElementsAre(Cpus{0, 1}, Cpus{2, 3}, from_to(4, 7)));
}

TEST(CpusOfRanks, AnyNumberingOfCpusIsFollowed) {
  EXPECT_THAT(deal(kAlternating, 2, Bind::kNuma), ElementsAre(Cpus{0, 2, 4, 6}, Cpus{1, 3, 5, 7}));
  EXPECT_THAT(deal(kAlternating, 4, Bind::kCore),
              ElementsAre(Cpus{0, 2}, Cpus{4, 6}, Cpus{1, 3}, Cpus{5, 7}));
}

TEST(CpusOfRanks, OneThreadOfEveryCoreComesFirst) {
  EXPECT_THAT(deal(kTwoThreads, 2, Bind::kSocket),
              ElementsAre(Cpus{0, 1, 2, 3, 8, 9, 10, 11}, Cpus{4, 5, 6, 7, 12, 13, 14, 15}));
  EXPECT_THAT(deal(kTwoThreads, 8, Bind::kCore),
              ElementsAre(Cpus{0, 8}, Cpus{1, 9}, Cpus{2, 10}, Cpus{3, 11}, Cpus{4, 12},
                          Cpus{5, 13}, Cpus{6, 14}, Cpus{7, 15}));
}

TEST(CpusOfRanks, MoreRanksThanCoresShareAsFewAsPossible) {
  EXPECT_THAT(deal("pack:1 [numa] core:2 pu:2", 4, Bind::kCore),
              ElementsAre(Cpus{0}, Cpus{1}, Cpus{2}, Cpus{3}));
  EXPECT_THAT(deal("pack:1 [numa] core:2 pu:1", 5, Bind::kCore),
              ElementsAre(Cpus{0}, Cpus{0}, Cpus{0}, Cpus{1}, Cpus{1}));
}

TEST(CpusOfRanks, OnlyAllowedCpusAreUsed) {
  EXPECT_THAT(deal(kTwoSockets, 2, Bind::kSocket, {2, 3, 5, 6}),
              ElementsAre(Cpus{2, 3}, Cpus{5, 6}));
  // All of them are in one socket: nothing to choose from.
  EXPECT_THAT(deal(kTwoSockets, 2, Bind::kSocket, {5, 6}), ElementsAre(Cpus{5, 6}, Cpus{5, 6}));
  // In proportion to the cpus that are allowed.
  EXPECT_THAT(deal(kTwoSockets, 5, Bind::kCore, {0, 1, 2, 3, 4}),
              ElementsAre(Cpus{0}, Cpus{1}, Cpus{2}, Cpus{3}, Cpus{4}));
}

TEST(CpusOfRanks, WithOneNodeOrNoneOfItsCpusAllRanksGetEverything) {
  EXPECT_THAT(deal("pack:1 [numa] core:2 pu:1", 2, Bind::kSocket),
              ElementsAre(Cpus{0, 1}, Cpus{0, 1}));
  EXPECT_THAT(deal("pack:1 [numa] core:2 pu:1", 2, Bind::kNuma),
              ElementsAre(Cpus{0, 1}, Cpus{0, 1}));
  EXPECT_THAT(deal(kTwoSockets, 2, Bind::kNone), ElementsAre(from_to(0, 7), from_to(0, 7)));
  EXPECT_THAT(deal(kTwoSockets, 2, Bind::kCore, {70, 71}), ElementsAre(Cpus{70, 71}, Cpus{70, 71}));
  EXPECT_THAT(cpus_of_ranks(nullptr, {1, 2}, 2, Bind::kCore), ElementsAre(Cpus{1, 2}, Cpus{1, 2}));
}

// Memory that hangs at the whole machine, such as that of an expander, is no place for ranks.
TEST(CpusOfRanks, MemoryOfTheWholeMachineIsNoNode) {
  EXPECT_THAT(deal("[numa] pack:2 [numa] core:2 pu:1", 2, Bind::kNuma),
              ElementsAre(Cpus{0, 1}, Cpus{2, 3}));
}

TEST(BindThisThread, BindsItAndWhatItStarts) {
  const Cpus& allowed = topology().allowed_cpus;
  std::thread([&] {
    for (const int cpu : Cpus(allowed.begin(),
                              allowed.begin() + std::min<std::ptrdiff_t>(8, std::ssize(allowed)))) {
      EXPECT_TRUE(bind_this_thread({cpu}));
      EXPECT_EQ(sched_getcpu(), cpu);
      std::thread([cpu] { EXPECT_EQ(sched_getcpu(), cpu); }).join();
    }
    EXPECT_TRUE(bind_this_thread(allowed));
    cpu_set_t set;
    ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    EXPECT_EQ(CPU_COUNT(&set), std::ssize(allowed));
    EXPECT_FALSE(bind_this_thread({}));
  }).join();
}

TEST(BindThisThread, RanksOfThisMachineGetAllowedCpus) {
  for (const Bind bind : {Bind::kNone, Bind::kSocket, Bind::kNuma, Bind::kCore})
    for (const int ranks : {1, 2, 3, 64}) {
      const auto cpus = cpus_of_ranks(ranks, bind);
      ASSERT_EQ(std::ssize(cpus), ranks);
      for (const Cpus& of_rank : cpus) {
        EXPECT_FALSE(of_rank.empty());
        for (int cpu : of_rank) EXPECT_EQ(std::ranges::count(topology().allowed_cpus, cpu), 1);
      }
    }
}

}  // namespace
}  // namespace weft
