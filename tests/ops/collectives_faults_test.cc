// SPDX-License-Identifier: Apache-2.0
// Collectives whose ranks disagree, or of which one is killed, absent or gone.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "collectives_case.h"
#include "processes.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Counts = std::vector<std::int64_t>;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr int kRanks = 3;

Context one_thread() { return Context::create({.threads = 1}).value(); }

GroupOptions options_of(double exec_timeout_s) {
  GroupOptions options;
  options.window_bytes = 32 << 20;
  options.exec_timeout_s = exec_timeout_s;
  return options;
}

struct Difference {
  std::function<void(CollectiveCase&)> on_rank_1;
  std::string message;
};

/// What all three ranks say when rank 1 makes another call.
void expect_mismatch(const CollectiveCase& c, const Difference& difference) {
  SCOPED_TRACE(c.text());
  std::vector<Group> groups = make_groups("loopback", kRanks, options_of(20));
  on_all(groups, [&](Group& group) {
    Context context = one_thread();
    CollectiveCase mine = c;
    if (group.rank() == 1) difference.on_rank_1(mine);
    CollectiveMemory memory(mine, group.rank());
    const Status status = memory.call(context, group);
    EXPECT_EQ(status.code(), StatusCode::kMismatch) << status.to_string();
    EXPECT_THAT(status.message(), StartsWith(difference.message));
    EXPECT_EQ(memory.call(context, group).to_string(), status.to_string());
    memory.expect_untouched();
  });
}

TEST(CollectivesMismatch, SaysWhatDiffersOnAllRanksAndWritesNothing) {
  constexpr const char* kNames[] = {"allreduce", "reduce",     "reduce_scatter", "reduce_scatterv",
                                    "allgather", "allgatherv", "broadcast",      "scatter",
                                    "alltoall",  "alltoallv",  "alltoallvc"};
  for (int i = 0; i < kFunctions; ++i) {
    const auto function = static_cast<Function>(i);
    // One shot, and in many blocks.
    for (const std::int64_t count : {10, 300'000}) {
      const CollectiveCase c{function, DType::kFloat32, ReduceOp::kSum, kRanks, count};
      const auto differ = [&](const std::string& message, auto change) {
        expect_mismatch(c, {change, fmt::format("{}: {} on rank 1", kNames[i], message)});
      };
      differ("dtype is float32 on rank 0 but int32",
             [](CollectiveCase& other) { other.dtype = DType::kInt32; });
      if (reduces(function))
        differ("op is sum on rank 0 but max",
               [](CollectiveCase& other) { other.op = ReduceOp::kMax; });
      const bool rooted = function == Function::kReduce || function == Function::kBroadcast ||
                          function == Function::kScatter;
      if (rooted)
        differ("root is 0 on rank 0 but 2", [](CollectiveCase& other) { other.root = 2; });
      const auto more = [](CollectiveCase& other) { ++other.count; };
      const bool counts = function == Function::kReduceScatterV ||
                          function == Function::kAllGatherV || function == Function::kAllToAllVC;
      if (function == Function::kAllToAllV)
        expect_mismatch(c, {more, fmt::format("alltoallv: rank 0 sends {} elements to rank 1, "
                                              "which expects {}.",
                                              count, count + 1)});
      else if (counts)
        expect_mismatch(c, {more, fmt::format("{}: counts is [", kNames[i])});
      else
        differ(fmt::format("count is {} on rank 0 but {}", count, count + 1), more);
    }
    const auto other = static_cast<Function>((i + 1) % kFunctions);
    expect_mismatch({function, DType::kFloat32, ReduceOp::kSum, kRanks, 10},
                    {[&](CollectiveCase& c) { c.function = other; },
                     fmt::format("rank 0 called {} but rank 1 called {}.", kNames[i],
                                 kNames[static_cast<int>(other)])});
  }
}

// Long lists that differ behind what fits into the message differ all the same.
TEST(CollectivesMismatch, CountsThatDifferLateInALongList) {
  std::vector<Group> groups = make_groups("loopback", 16, options_of(20));
  on_all(groups, [](Group& group) {
    Context context = one_thread();
    Counts counts(16, 100'000), offsets;
    if (group.rank() == 9) ++counts.back();
    std::vector<std::int8_t> send(100'001), recv(16 * 100'000 + 1);
    for (std::int64_t q = 0; q < 16; ++q) offsets.push_back(q * 100'000);
    const Status status =
        allgatherv(context, group, send.data(), recv.data(), counts, offsets, DType::kInt8);
    EXPECT_EQ(status.code(), StatusCode::kMismatch) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(" on rank 9"));
  });
}

// function, elements: one shot or many blocks
class Drill : public ::testing::TestWithParam<std::tuple<Function, std::int64_t>> {
 protected:
  static CollectiveCase make() {
    return {std::get<0>(GetParam()), DType::kFloat16, ReduceOp::kSum, kRanks,
            std::get<1>(GetParam())};
  }

  /// Calls until the group fails; says "running" after some calls. The text is what ended it.
  static std::string run_until_it_fails(const Rank& rank, double timeout_s) {
    Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(timeout_s)).value();
    Context context = one_thread();
    CollectiveMemory memory(make(), rank.rank);
    for (int call = 0;; ++call) {
      const Status status = memory.call(context, group);
      if (call == 20) rank.tell("running");
      if (status.ok()) continue;
      EXPECT_EQ(memory.call(context, group).to_string(), status.to_string());
      return status.to_string();
    }
  }
};

TEST_P(Drill, KilledRankIsLostWithinASecond) {
  Processes processes(kRanks, [&](Rank& rank) { return run_until_it_fails(rank, 60); });
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(processes.await(rank, "running"));
  const std::int64_t killed_ns = processes.kill(1);
  EXPECT_THAT(expect_same_end(processes, kRanks, 1, killed_ns, kSecond),
              AllOf(StartsWith("peer lost: "), HasSubstr("rank 1 is gone (its process ended)")));
}

TEST_P(Drill, RankThatNeverCallsEndsAtTheDeadline) {
  Processes processes(kRanks, [&](Rank& rank) {
    if (rank.rank != 2) return run_until_it_fails(rank, 0.7);
    Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(0.7)).value();
    rank.tell("joined");
    rank.await_go();
    return group.health().to_string();
  });
  ASSERT_TRUE(processes.await(2, "joined"));
  const std::string text = expect_same_end(processes, kRanks, 2, monotonic_ns(), kSecond * 5 / 2);
  EXPECT_THAT(text, AllOf(StartsWith("timeout: "),
                          HasSubstr("rank 2 has not entered call 1 (it is at call 0)"),
                          HasSubstr("the limit is 0.7 s")));
  processes.go(2);
  EXPECT_EQ(processes.finish(2).text, text);
}

TEST_P(Drill, RankThatLeavesEarlyIsLost) {
  Processes processes(kRanks, [&](Rank& rank) {
    if (rank.rank != 2) return run_until_it_fails(rank, 60);
    {
      Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(60)).value();
      Context context = one_thread();
      EXPECT_TRUE(CollectiveMemory(make(), 2).call(context, group).ok());
    }
    rank.tell("left");
    rank.await_go();
    return std::string();
  });
  ASSERT_TRUE(processes.await(2, "left"));
  EXPECT_THAT(expect_same_end(processes, kRanks, 2, monotonic_ns(), kSecond),
              AllOf(StartsWith("peer lost: "), HasSubstr("rank 2 left the group")));
  processes.go(2);
}

INSTANTIATE_TEST_SUITE_P(
    Collectives, Drill,
    ::testing::Combine(::testing::Values(Function::kAllReduce, Function::kReduceScatter,
                                         Function::kAllGatherV, Function::kBroadcast,
                                         Function::kAllToAllV),
                       ::testing::Values(std::int64_t{99}, std::int64_t{400'000})),
    [](const auto& test) {
      return fmt::format("function{}_{}", static_cast<int>(std::get<0>(test.param)),
                         std::get<1>(test.param));
    });

}  // namespace
}  // namespace weft::testing
