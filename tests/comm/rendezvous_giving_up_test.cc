// SPDX-License-Identifier: Apache-2.0
// Forming a group of processes when a program no longer wants to wait.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "processes.h"
#include "thread_ranks.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using testing::monotonic_ns;
using testing::Outcome;
using testing::quick_options;
using testing::Rank;
using testing::run_ranks;

constexpr std::int64_t kSecond = 1'000'000'000;

std::string join_text(const UniqueId& id, int rank, int ranks, const GroupOptions& options) {
  return Group::join(id, rank, ranks, options).status().to_string();
}

GroupOptions patient(double seconds) {
  GroupOptions options = quick_options();
  options.connect_timeout_s = seconds;
  return options;
}

GroupOptions interrupted_at(std::int64_t ns) {
  GroupOptions options = quick_options();
  options.interrupted = [ns] { return monotonic_ns() >= ns; };
  return options;
}

// It is as if it had died: the others wait for another one.
TEST(Interrupted, ARankGivesUp) {
  const auto outcomes = run_ranks(3, [](Rank& rank) {
    const std::int64_t end = monotonic_ns() + kSecond / 5;
    if (rank.rank == 0) return join_text(rank.id, 0, 4, patient(1));
    const std::string text =
        join_text(rank.id, rank.rank, 4, rank.rank == 1 ? interrupted_at(end) : patient(0.6));
    EXPECT_LT(monotonic_ns() - end, rank.rank == 1 ? kSecond / 5 : kSecond);
    return text;
  });
  EXPECT_EQ(outcomes[1].text,
            "peer lost: group: rank 1 gave up (interrupted) while the group was forming. Join "
            "again with a new unique id.");
  EXPECT_THAT(outcomes[2].text, HasSubstr("timeout: group: 2 of 4 ranks have not joined: 1, 3."));
  EXPECT_THAT(outcomes[0].text, HasSubstr("timeout: group: 3 of 4 ranks have not joined: 1, 2"));
}

TEST(Interrupted, RankZeroTellsThoseThatHaveJoined) {
  const auto outcomes = run_ranks(3, [](Rank& rank) {
    const std::int64_t end = monotonic_ns() + kSecond / 5;
    const std::string text =
        join_text(rank.id, rank.rank, 4, rank.rank == 0 ? interrupted_at(end) : quick_options());
    EXPECT_LT(monotonic_ns() - end, kSecond / 2);
    return text;
  });
  for (const Outcome& outcome : outcomes)
    EXPECT_EQ(outcome.text,
              "peer lost: group: rank 0 gave up (interrupted) while the group was forming. Join "
              "again with a new unique id.");
}

TEST(Interrupted, ARankNeedNotWaitForRankZero) {
  const std::int64_t end = monotonic_ns() + kSecond / 10;
  EXPECT_THAT(join_text(UniqueId::create().value(), 1, 2, interrupted_at(end)),
              HasSubstr("peer lost: group: rank 1 gave up (interrupted)"));
  EXPECT_LT(monotonic_ns() - end, kSecond / 2);
}

}  // namespace
}  // namespace weft
