// SPDX-License-Identifier: Apache-2.0
// The operator over real processes of which one is killed, stopped, absent, gone or calls with
// something else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "operator_case.h"
#include "processes.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr const char* kOp = "matmul_allreduce_add_rmsnorm";

// One shot, and ring with several super-blocks.
constexpr const char* kSmall = "2x64:64x32";
constexpr const char* kLarge = "48x32:32x640";

GroupOptions options_with_deadline(double seconds) {
  GroupOptions options = operator_group_options();
  options.exec_timeout_s = seconds;
  return options;
}

Group join(const Rank& rank, const GroupOptions& options) {
  auto group = Group::join(rank.id, rank.rank, rank.ranks, options);
  if (!group.ok()) {
    ADD_FAILURE() << "rank " << rank.rank << ": " << group.status().to_string();
    _exit(1);
  }
  return std::move(group).value();
}

/// A group in the same processes works, although one has just failed.
void expect_new_group_works(const UniqueId& id, int rank, int ranks) {
  auto group = Group::join(id, rank, ranks, operator_group_options());
  ASSERT_TRUE(group.ok()) << group.status().to_string();
  Context context = Context::create({.threads = 1}).value();
  const RankData data(plain_case("A1", kSmall), rank, ranks);
  const Status status = matmul_allreduce_add_rmsnorm(context, *group, data.args());
  EXPECT_TRUE(status.ok()) << status.to_string();
}

/// Runs until the group fails; says "running" after some calls. The text is what ended it.
std::string run_until_it_fails(const Rank& rank, const char* shape, const GroupOptions& options) {
  Group group = join(rank, options);
  Context context = Context::create({.threads = 1}).value();
  const RankData data(plain_case("A1", shape), rank.rank, rank.ranks);
  auto plan = MatmulAllReduceAddRmsNorm::plan(context, group, data.args(),
                                              {.super_block_rows = shape == kLarge ? 16 : 0});
  EXPECT_TRUE(plan.ok()) << plan.status().to_string();
  for (int call = 0;; ++call) {
    const Status status = plan->run(data.args());
    if (call == 20) rank.tell("running");
    if (status.ok()) continue;
    EXPECT_EQ(plan->run(data.args()).to_string(), status.to_string());  // at once, for good
    EXPECT_EQ(group.health().to_string(), status.to_string());
    return status.to_string();
  }
}

// ranks, shape
class Drill : public ::testing::TestWithParam<std::tuple<int, const char*>> {
 protected:
  int ranks() const { return std::get<0>(GetParam()); }
  const char* shape() const { return std::get<1>(GetParam()); }

  /// Every rank but `victim` ended within a second of `since`, all with the same text.
  static std::string expect_same_end(Processes& processes, int ranks, int victim,
                                     std::int64_t since_ns, std::int64_t limit_ns) {
    std::string text;
    for (int rank = 0; rank < ranks; ++rank) {
      if (rank == victim) continue;
      const Outcome outcome = processes.finish(rank);
      EXPECT_TRUE(outcome.clean()) << outcome.text;
      EXPECT_LT(outcome.finished_ns - since_ns, limit_ns) << "rank " << rank;
      if (text.empty()) text = outcome.text;
      EXPECT_EQ(outcome.text, text) << "rank " << rank;
    }
    return text;
  }
};

TEST_P(Drill, KilledRankIsLostWithinASecond) {
  const int victim = ranks() - 1;
  const UniqueId second = UniqueId::create().value();
  Processes processes(ranks(), [&](Rank& rank) {
    const std::string text = run_until_it_fails(rank, shape(), operator_group_options());
    const std::int64_t ended_ns = monotonic_ns();
    expect_new_group_works(second, rank.rank, rank.ranks - 1);
    return std::to_string(ended_ns) + " " + text;
  });
  for (int rank = 0; rank < ranks(); ++rank) ASSERT_TRUE(processes.await(rank, "running"));
  const std::int64_t killed_ns = processes.kill(victim);
  std::string first;
  for (int rank = 0; rank < victim; ++rank) {
    const Outcome outcome = processes.finish(rank);
    ASSERT_TRUE(outcome.clean()) << outcome.text;
    const std::size_t space = outcome.text.find(' ');
    EXPECT_LT(std::stoll(outcome.text) - killed_ns, kSecond) << "rank " << rank;
    const std::string text = outcome.text.substr(space + 1);
    EXPECT_THAT(text, StartsWith("peer lost: " + std::string(kOp) + ": rank " +
                                 std::to_string(victim) + " is gone (its process ended)"));
    if (rank == 0) first = text;
    EXPECT_EQ(text, first);
  }
  EXPECT_EQ(processes.finish(victim).signal, SIGKILL);
}

TEST_P(Drill, StoppedRankEndsAtTheDeadline) {
  const int victim = 1;
  Processes processes(ranks(), [&](Rank& rank) {
    return run_until_it_fails(rank, shape(), options_with_deadline(1));
  });
  for (int rank = 0; rank < ranks(); ++rank) ASSERT_TRUE(processes.await(rank, "running"));
  const std::int64_t stopped_ns = processes.kill(victim, SIGSTOP);
  const std::string text = expect_same_end(processes, ranks(), victim, stopped_ns, kSecond * 5 / 2);
  EXPECT_THAT(text, AllOf(StartsWith("timeout: " + std::string(kOp) + ": rank "),
                          HasSubstr("rank 1 "), HasSubstr("the limit is 1 s")));
}

TEST_P(Drill, RankThatNeverCallsEndsAtTheDeadline) {
  const int victim = ranks() - 1;
  Processes processes(ranks(), [&](Rank& rank) {
    if (rank.rank != victim) return run_until_it_fails(rank, shape(), options_with_deadline(0.7));
    Group group = join(rank, options_with_deadline(0.7));
    rank.tell("joined");
    rank.await_go();
    return group.health().to_string();
  });
  ASSERT_TRUE(processes.await(victim, "joined"));
  const std::string text =
      expect_same_end(processes, ranks(), victim, monotonic_ns(), kSecond * 5 / 2);
  EXPECT_THAT(text, AllOf(StartsWith("timeout: " + std::string(kOp) + ": rank "),
                          HasSubstr("rank " + std::to_string(victim) +
                                    " has not entered call 1 (it is at call 0)"),
                          HasSubstr("the limit is 0.7 s")));
  processes.go(victim);
  EXPECT_EQ(processes.finish(victim).text, text);  // it learns of it too
}

TEST_P(Drill, RankThatLeavesEarlyIsLost) {
  const int victim = ranks() - 1;
  Processes processes(ranks(), [&](Rank& rank) {
    if (rank.rank != victim) return run_until_it_fails(rank, shape(), operator_group_options());
    {
      Group group = join(rank, operator_group_options());
      Context context = Context::create({.threads = 1}).value();
      const RankData data(plain_case("A1", shape()), rank.rank, rank.ranks);
      const Status status = matmul_allreduce_add_rmsnorm(
          context, group, data.args(), {.super_block_rows = shape() == kLarge ? 16 : 0});
      EXPECT_TRUE(status.ok()) << status.to_string();
    }
    rank.tell("left");
    rank.await_go();
    return std::string();
  });
  ASSERT_TRUE(processes.await(victim, "left"));
  EXPECT_THAT(expect_same_end(processes, ranks(), victim, monotonic_ns(), kSecond),
              StartsWith("peer lost: " + std::string(kOp) + ": rank " + std::to_string(victim) +
                         " left the group"));
  processes.go(victim);
}

INSTANTIATE_TEST_SUITE_P(Operator, Drill,
                         ::testing::Combine(::testing::Values(3, 8),
                                            ::testing::Values(kSmall, kLarge)),
                         [](const auto& test) {
                           return "ranks" + std::to_string(std::get<0>(test.param)) +
                                  (std::get<1>(test.param) == kSmall ? "_one_shot" : "_ring");
                         });

TEST(FaultDrills, RankThatExitsAfterItsLastCallDisturbsNobody) {
  // Processes end without leaving the group, the first of them while others may still be in the
  // call.
  run_ranks(3, [](Rank& rank) {
    static Group* never_destroyed = new Group(join(rank, operator_group_options()));
    Context context = Context::create({.threads = 1}).value();
    const RankData data(plain_case("A1", kLarge), rank.rank, rank.ranks);
    for (int call = 0; call < 5; ++call) {
      const Status status = matmul_allreduce_add_rmsnorm(context, *never_destroyed, data.args(),
                                                         {.super_block_rows = 16});
      EXPECT_TRUE(status.ok()) << status.to_string();
    }
    return std::string();
  });
}

struct Difference {
  const char* name;
  std::function<void(OperatorCase&)> on_rank_1;
  const char* message;                // after "mismatch: <op>: "
  std::int64_t super_block_rows = 0;  ///< on the other ranks, and on rank 1 unless it says else
};

std::vector<Difference> differences() {
  const auto shape = [](const char* text) {
    return [text](OperatorCase& c) { c.operands.shape = tools::parse_shape(text).value(); };
  };
  const auto row = [](const char* name) {
    return [name](OperatorCase& c) { c.operands.row = tools::find_dtype_row(name).value(); };
  };
  return {
      {"m", shape("5x64:64x32"), "m is 4 on rank 0 but 5 on rank 1"},
      {"n", shape("4x64:64x40"), "n is 32 on rank 0 but 40 on rank 1"},
      {"empty", shape("0x64:64x32"), "m is 4 on rank 0 but 0 on rank 1"},
      {"epsilon", [](OperatorCase& c) { c.operands.epsilon = 1e-5; },
       "epsilon is 1e-06 on rank 0 but 1e-05 on rank 1"},
      {"dtype", row("A2"), "x1 dtype is float16 on rank 0 but bfloat16 on rank 1"},
      {"weight_dtype", row("A6"), "x2 dtype is float16 on rank 0 but int8 on rank 1"},
      {"super_block_rows", [](OperatorCase& c) { c.super_block_rows = 2; },
       "super-block rows is 4 on rank 0 but 2 on rank 1"},
      {"pattern", [](OperatorCase& c) { c.super_block_rows = 4; },
       "pattern is one shot on rank 0 but ring on rank 1"},
      {"epsilon_in_ring", [](OperatorCase& c) { c.operands.epsilon = 1e-5; },
       "epsilon is 1e-06 on rank 0 but 1e-05 on rank 1", 2},
      {"m_in_ring", shape("3x64:64x32"), "m is 4 on rank 0 but 3 on rank 1", 1},
  };
}

TEST(FaultDrills, MismatchIsTheSameTextOnAllRanksAndWritesNothing) {
  const std::vector<Difference> all = differences();
  std::vector<UniqueId> ids;
  for (std::size_t i = 0; i < all.size() + 1; ++i) ids.push_back(UniqueId::create().value());
  const auto outcomes = run_ranks(3, [&](Rank& rank) {
    std::string texts;
    Context context = Context::create({.threads = 1}).value();
    for (std::size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(all[i].name);
      // A new group at once, in the processes whose last group has failed.
      rank.id = ids[i];
      Group group = join(rank, operator_group_options());
      OperatorCase c = plain_case("A1", "4x64:64x32");
      c.super_block_rows = all[i].super_block_rows;
      if (rank.rank == 1) all[i].on_rank_1(c);
      const RankData data(c, rank.rank, rank.ranks);
      const Status status = matmul_allreduce_add_rmsnorm(context, group, data.args(),
                                                         {.super_block_rows = c.super_block_rows});
      EXPECT_EQ(status.code(), StatusCode::kMismatch);
      EXPECT_TRUE(data.outputs_untouched() && data.guards_intact());
      EXPECT_EQ(group.barrier().to_string(), status.to_string());
      texts += status.to_string() + "\n";
    }
    expect_new_group_works(ids.back(), rank.rank, rank.ranks);
    return texts;
  });
  std::string want;
  for (const Difference& difference : all)
    want += "mismatch: " + std::string(kOp) + ": " + difference.message +
            ". Give it the same value on every rank and form a new group.\n";
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, want);
}

}  // namespace
}  // namespace weft::testing
