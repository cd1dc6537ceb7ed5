// SPDX-License-Identifier: Apache-2.0
// The operators over real processes of which one is killed, stopped, absent, gone or calls with
// something else.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "operator_call.h"
#include "processes.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kSecond = 1'000'000'000;
/// What the ranks call, again and again.
struct Job {
  const char* name;
  const char* row;
  bool int8_communication;
};
constexpr Job kJobs[] = {{"allreduce", "N1", false},
                         {"allreduce_int8", "Q4", true},
                         {"norm", "A1", false},
                         {"scatter", "R1", false}};

/// One shot, or ring with several super-blocks; rows divide by 2, 3 and 8 ranks.
OperatorCase make_case(const Job& job, bool ring) {
  OperatorCase c = plain_case(job.row, ring ? "48x32:32x640" : "24x64:64x32");
  add_options(c, job.int8_communication);
  c.super_block_rows = ring ? 16 : 0;
  return c;
}

Context one_thread() { return Context::create({.threads = 1}).value(); }

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
void expect_new_group_works(const UniqueId& id, int rank, int ranks, const OperatorCase& c) {
  auto group = Group::join(id, rank, ranks, operator_group_options());
  ASSERT_TRUE(group.ok()) << group.status().to_string();
  Context context = one_thread();
  const Status status = call(context, *group, c, RankData(c, rank, ranks));
  EXPECT_TRUE(status.ok()) << status.to_string();
}

/// Runs until the group fails; says "running" after some calls. The text is what ended it.
std::string run_until_it_fails(const Rank& rank, const OperatorCase& c,
                               const GroupOptions& options) {
  Group group = join(rank, options);
  Context context = one_thread();
  const RankData data(c, rank.rank, rank.ranks);
  const auto planned = plan(context, group, c, data).value();
  for (int call = 0;; ++call) {
    const Status status = planned->run(data);
    if (call == 20) rank.tell("running");
    if (status.ok()) continue;
    EXPECT_EQ(planned->run(data).to_string(), status.to_string());  // at once, for good
    EXPECT_EQ(group.health().to_string(), status.to_string());
    EXPECT_TRUE(data.guards_intact());
    return status.to_string();
  }
}

// ranks, what they call, ring or one shot
class Drill : public ::testing::TestWithParam<std::tuple<int, Job, bool>> {
 protected:
  static int ranks() { return std::get<0>(GetParam()); }
  static OperatorCase make() { return make_case(std::get<1>(GetParam()), std::get<2>(GetParam())); }
  static std::string op() { return std::string(make().op().name()); }
};

TEST_P(Drill, KilledRankIsLostWithinASecond) {
  const int victim = ranks() - 1;
  const UniqueId second = UniqueId::create().value();
  Processes processes(ranks(), [&](Rank& rank) {
    const std::string text = run_until_it_fails(rank, make(), operator_group_options());
    const std::int64_t ended_ns = monotonic_ns();
    // A scattered result needs rows that divide by the ranks that are left.
    expect_new_group_works(second, rank.rank, rank.ranks - 1,
                           random_case(make().operands.row->name, "6x64:64x32", rank.ranks - 1, 1));
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
    EXPECT_THAT(text, StartsWith("peer lost: " + op() + ": rank " + std::to_string(victim) +
                                 " is gone (its process ended)"));
    if (rank == 0) first = text;
    EXPECT_EQ(text, first);
  }
  EXPECT_EQ(processes.finish(victim).signal, SIGKILL);
}

TEST_P(Drill, StoppedRankEndsAtTheDeadline) {
  const int victim = 1;
  Processes processes(ranks(), [&](Rank& rank) {
    return run_until_it_fails(rank, make(), options_with_deadline(1));
  });
  for (int rank = 0; rank < ranks(); ++rank) ASSERT_TRUE(processes.await(rank, "running"));
  const std::int64_t stopped_ns = processes.kill(victim, SIGSTOP);
  const std::string text = expect_same_end(processes, ranks(), victim, stopped_ns, kSecond * 5 / 2);
  EXPECT_THAT(text, AllOf(StartsWith("timeout: " + op() + ": rank "), HasSubstr("rank 1 "),
                          HasSubstr("the limit is 1 s")));
}

TEST_P(Drill, RankThatNeverCallsEndsAtTheDeadline) {
  const int victim = ranks() - 1;
  Processes processes(ranks(), [&](Rank& rank) {
    if (rank.rank != victim) return run_until_it_fails(rank, make(), options_with_deadline(0.7));
    Group group = join(rank, options_with_deadline(0.7));
    rank.tell("joined");
    rank.await_go();
    return group.health().to_string();
  });
  ASSERT_TRUE(processes.await(victim, "joined"));
  const std::string text =
      expect_same_end(processes, ranks(), victim, monotonic_ns(), kSecond * 5 / 2);
  EXPECT_THAT(text, AllOf(StartsWith("timeout: " + op() + ": rank "),
                          HasSubstr("rank " + std::to_string(victim) +
                                    " has not entered call 1 (it is at call 0)"),
                          HasSubstr("the limit is 0.7 s")));
  processes.go(victim);
  EXPECT_EQ(processes.finish(victim).text, text);  // it learns of it too
}

TEST_P(Drill, RankThatLeavesEarlyIsLost) {
  const int victim = ranks() - 1;
  Processes processes(ranks(), [&](Rank& rank) {
    if (rank.rank != victim) return run_until_it_fails(rank, make(), operator_group_options());
    {
      Group group = join(rank, operator_group_options());
      Context context = one_thread();
      const Status status = call(context, group, make(), RankData(make(), rank.rank, rank.ranks));
      EXPECT_TRUE(status.ok()) << status.to_string();
    }
    rank.tell("left");
    rank.await_go();
    return std::string();
  });
  ASSERT_TRUE(processes.await(victim, "left"));
  EXPECT_THAT(
      expect_same_end(processes, ranks(), victim, monotonic_ns(), kSecond),
      StartsWith("peer lost: " + op() + ": rank " + std::to_string(victim) + " left the group"));
  processes.go(victim);
}

std::string name_of(const ::testing::TestParamInfo<Drill::ParamType>& test) {
  const auto& [ranks, job, ring] = test.param;
  return "ranks" + std::to_string(ranks) + "_" + job.name + (ring ? "_ring" : "_one_shot");
}

INSTANTIATE_TEST_SUITE_P(Operator, Drill,
                         ::testing::Combine(::testing::Values(3), ::testing::ValuesIn(kJobs),
                                            ::testing::Bool()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(ManyRanks, Drill,
                         ::testing::Combine(::testing::Values(8),
                                            ::testing::Values(kJobs[1], kJobs[3]),
                                            ::testing::Values(true)),
                         name_of);

TEST(FaultDrills, RankThatExitsAfterItsLastCallDisturbsNobody) {
  // Processes end without leaving the group, the first of them while others may still be in the
  // call.
  for (const Job& job : kJobs)
    run_ranks(3, [&](Rank& rank) {
      static Group* never_destroyed = new Group(join(rank, operator_group_options()));
      Context context = one_thread();
      const OperatorCase c = make_case(job, true);
      const RankData data(c, rank.rank, rank.ranks);
      for (int i = 0; i < 5; ++i) {
        const Status status = call(context, *never_destroyed, c, data);
        EXPECT_TRUE(status.ok()) << status.to_string();
      }
      return std::string();
    });
}

struct Difference {
  const char* name;
  const char* row;
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
  const auto int8 = [](OperatorCase& c) { add_options(c, true); };
  const auto epsilon = [](OperatorCase& c) { c.operands.epsilon = 1e-5; };
  const auto super_blocks = [](std::int64_t rows) {
    return [rows](OperatorCase& c) { c.super_block_rows = rows; };
  };
  std::vector<Difference> all;
  // Of every operator, in one shot and in the ring.
  for (const char* name : {"A1", "N1", "R1"})
    for (const std::int64_t rows : {0, 3}) {
      all.push_back({"m", name, shape("9x64:64x32"), "m is 6 on rank 0 but 9 on rank 1", rows});
      all.push_back({"n", name, shape("6x64:64x40"), "n is 32 on rank 0 but 40 on rank 1", rows});
    }
  for (const char* name : {"A1", "N1", "R1"}) {
    all.push_back({"super_block_rows", name, super_blocks(2),
                   name[0] == 'R' ? "super-block rows is 6 on rank 0 but 3 on rank 1"
                                  : "super-block rows is 6 on rank 0 but 2 on rank 1"});
    all.push_back(
        {"pattern", name, super_blocks(6), "pattern is one shot on rank 0 but ring on rank 1"});
  }
  for (const auto& [name, other] : {std::pair{"A1", "A2"}, {"N1", "N2"}, {"R1", "R2"}})
    all.push_back(
        {"dtype", name, row(other), "x1 dtype is float16 on rank 0 but bfloat16 on rank 1"});
  for (const auto& [name, other] : {std::pair{"A1", "A6"}, {"N1", "W1"}})
    all.push_back(
        {"weight_dtype", name, row(other), "x2 dtype is float16 on rank 0 but int8 on rank 1"});
  for (const auto& [name, other] : {std::pair{"Q1", "Q3"}, {"R4", "R5"}})
    all.push_back({"output_dtype", name, row(other),
                   "output dtype is float16 on rank 0 but bfloat16 on rank 1"});
  for (const std::int64_t rows : {0, 3})
    all.push_back({"communication", "Q1", int8,
                   "communication is float16 on rank 0 but int8 on rank 1", rows});
  for (const std::int64_t rows : {0, 3})
    all.push_back(
        {"epsilon", "A1", epsilon, "epsilon is 1e-06 on rank 0 but 1e-05 on rank 1", rows});
  all.push_back({"empty", "A1", shape("0x64:64x32"), "m is 6 on rank 0 but 0 on rank 1"});
  all.push_back({"empty", "R1", shape("0x64:64x32"), "m is 6 on rank 0 but 0 on rank 1"});
  return all;
}

/// Makes call i of `count` on three ranks in a group of its own each, expects a mismatch and
/// nothing written, and gives the texts of all.
template <typename MakeCase>
void expect_mismatches(std::size_t count, const MakeCase& make_case, const std::string& want) {
  std::vector<UniqueId> ids;
  for (std::size_t i = 0; i < count + 1; ++i) ids.push_back(UniqueId::create().value());
  const auto outcomes = run_ranks(3, [&](Rank& rank) {
    std::string texts;
    Context context = one_thread();
    for (std::size_t i = 0; i < count; ++i) {
      SCOPED_TRACE(i);
      // A new group at once, in the processes whose last group has failed.
      rank.id = ids[i];
      Group group = join(rank, operator_group_options());
      const OperatorCase c = make_case(i, rank.rank);
      const RankData data(c, rank.rank, rank.ranks);
      const Status status = call(context, group, c, data);
      EXPECT_EQ(status.code(), StatusCode::kMismatch);
      EXPECT_TRUE(data.outputs_untouched() && data.guards_intact());
      EXPECT_EQ(group.barrier().to_string(), status.to_string());
      texts += status.to_string() + "\n";
    }
    expect_new_group_works(ids.back(), rank.rank, rank.ranks, plain_case("A1", "6x64:64x32"));
    return texts;
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, want);
}

TEST(FaultDrills, MismatchIsTheSameTextOnAllRanksAndWritesNothing) {
  const std::vector<Difference> all = differences();
  const auto on_rank_0 = [&](std::size_t i) {
    OperatorCase c = plain_case(all[i].row, "6x64:64x32");
    c.super_block_rows = all[i].super_block_rows;
    return c;
  };
  std::string want;
  for (std::size_t i = 0; i < all.size(); ++i)
    want += fmt::format(
        "mismatch: {}: {}. Give it the same value on every rank and form a new group.\n",
        on_rank_0(i).op().name(), all[i].message);
  expect_mismatches(
      all.size(),
      [&](std::size_t i, int rank) {
        OperatorCase c = on_rank_0(i);
        if (rank == 1) all[i].on_rank_1(c);
        return c;
      },
      want);
}

TEST(FaultDrills, AnotherOperatorIsAMismatchToo) {
  constexpr const char* kRows[] = {"A1", "N1", "R1"};
  std::string want;
  std::vector<std::pair<OperatorCase, OperatorCase>> pairs;  // of rank 2, and of the others
  for (const char* other : kRows)
    for (const char* row : kRows)
      for (const std::int64_t rows : {0, 3}) {
        if (row == other) continue;
        auto& [last, first] =
            pairs.emplace_back(plain_case(other, "6x64:64x32"), plain_case(row, "6x64:64x32"));
        last.super_block_rows = first.super_block_rows = rows;
        want += fmt::format(
            "mismatch: rank 0 called {} but rank 2 called {}. All ranks must make the same calls "
            "in the same order; form a new group.\n",
            first.op().name(), last.op().name());
      }
  expect_mismatches(
      pairs.size(),
      [&](std::size_t i, int rank) { return rank == 2 ? pairs[i].first : pairs[i].second; }, want);
}

}  // namespace
}  // namespace weft::testing
