// SPDX-License-Identifier: Apache-2.0
// Real processes that are killed, stopped, late or gone, and what the others then see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "comm/group_state.h"
#include "processes.h"
#include "thread_ranks.h"

namespace weft {
namespace {

using internal::CallHeader;
using internal::CounterId;
using internal::GroupState;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Processes;
using testing::quick_options;
using testing::Rank;
using testing::run_ranks;
using ::testing::StartsWith;

constexpr std::int64_t kSecond = 1'000'000'000;

/// Joins; a failure is the rank's text.
Group join(Rank& rank, const GroupOptions& options = quick_options()) {
  auto group = Group::join(rank.id, rank.rank, rank.ranks, options);
  if (!group.ok()) {
    ADD_FAILURE() << "rank " << rank.rank << ": " << group.status().to_string();
    _exit(1);
  }
  return std::move(group).value();
}

/// Enters a call in which everybody waits for the last rank's reduced rows of tile 2, for ever.
std::string wait_for_last_rank(Rank& rank, Group& group) {
  GroupState& state = group.state();
  Status status = state.begin_call(CallHeader("matmul_allreduce"));
  if (status.ok()) status = state.check_peers();
  rank.tell("waiting");
  if (rank.rank == rank.ranks - 1) {
    while (true) pause();
  }
  if (status.ok())
    status = state.wait(rank.ranks - 1, CounterId::kReduced, 3, {"the reduced rows", 2});
  return status.to_string();
}

TEST(FaultDrills, ProcessesMeetAndExchangeData) {
  for (const int ranks : {2, 3, 8, 64}) {
    run_ranks(ranks, [](Rank& rank) {
      Group group = join(rank);
      EXPECT_EQ(group.transport(), "shm");
      group.state().window(rank.rank)[100] = static_cast<std::byte>(rank.rank + 1);
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(group.barrier().ok());
      for (int peer = 0; peer < rank.ranks; ++peer)
        EXPECT_EQ(group.state().window(peer)[100], static_cast<std::byte>(peer + 1));
      return group.barrier().to_string();
    });
  }
}

TEST(FaultDrills, KilledRankZeroIsLostWithinASecond) {
  // Its segment holds the word that says whose poison is in force; it must outlive the process.
  Processes processes(4, [](Rank& rank) {
    Group group = join(rank);
    (void)group.barrier();
    rank.tell("formed");
    if (rank.rank == 0)
      while (true) pause();
    const std::string text = group.barrier().to_string();
    EXPECT_EQ(group.health().to_string(), text);
    return text;
  });
  for (int rank = 0; rank < 4; ++rank) ASSERT_TRUE(processes.await(rank, "formed"));
  const std::int64_t killed_ns = processes.kill(0);
  const std::vector<Outcome> outcomes = processes.finish_all(10);
  for (std::size_t rank = 1; rank < 4; ++rank) {
    EXPECT_TRUE(outcomes[rank].clean());
    EXPECT_THAT(outcomes[rank].text, StartsWith("peer lost: barrier: rank 0 is gone"));
    EXPECT_EQ(outcomes[rank].text, outcomes[1].text);
    EXPECT_LT(outcomes[rank].finished_ns - killed_ns, kSecond);
  }
}

TEST(FaultDrills, KilledRankIsLostWithinASecond) {
  constexpr int kRanks = 4;
  Processes processes(kRanks, [](Rank& rank) {
    Group group = join(rank);
    const std::string text = wait_for_last_rank(rank, group);
    EXPECT_EQ(group.barrier().to_string(), text);  // at once, for good
    return text;
  });
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(processes.await(rank, "waiting"));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::int64_t killed_ns = processes.kill(kRanks - 1);
  const std::vector<Outcome> outcomes = processes.finish_all(10);
  for (int rank = 0; rank < kRanks - 1; ++rank) {
    const Outcome& outcome = outcomes[static_cast<std::size_t>(rank)];
    EXPECT_TRUE(outcome.clean());
    EXPECT_THAT(outcome.text,
                AllOf(StartsWith("peer lost: matmul_allreduce: rank 3 is gone (its process ended) "
                                 "while rank "),
                      HasSubstr("for the reduced rows of tile 2 from rank 3"),
                      HasSubstr("Form a new group")));
    EXPECT_EQ(outcome.text, outcomes[0].text);
    EXPECT_LT(outcome.finished_ns - killed_ns, kSecond);
  }
  EXPECT_EQ(outcomes[kRanks - 1].signal, SIGKILL);
}

TEST(FaultDrills, DeathOfARankNobodyWaitsForIsSeenToo) {
  // 0 waits for 1, which is busy for long; 2 dies. Nobody waits for 2 directly.
  Processes processes(3, [](Rank& rank) {
    Group group = join(rank);
    GroupState& state = group.state();
    (void)state.begin_call(CallHeader("op"));
    (void)state.check_peers();
    rank.tell("in");
    if (rank.rank == 0) return state.wait(1, CounterId::kPartial, 1, {"the partials"}).to_string();
    if (rank.rank == 2) rank.await_go();
    rank.await_go();
    return state.health().to_string();
  });
  for (int rank = 0; rank < 3; ++rank) ASSERT_TRUE(processes.await(rank, "in"));
  const std::int64_t killed_ns = processes.kill(2);
  const Outcome first = processes.finish(0);
  EXPECT_THAT(first.text, HasSubstr("op: rank 2 is gone (its process ended) while rank 0 waited "
                                    "for the partials from rank 1"));
  EXPECT_LT(first.finished_ns - killed_ns, kSecond);
  processes.go(1);
  EXPECT_EQ(processes.finish(1).text, first.text);
}

TEST(FaultDrills, RankThatExitsAfterItsCallDisturbsNobody) {
  // Rank 2 completes the call and its process ends without a word; 0 and 1 go on with each other.
  Processes processes(3, [](Rank& rank) {
    Group group = join(rank);
    GroupState& state = group.state();
    (void)state.begin_call(CallHeader("op"));
    (void)state.check_peers();
    state.publish(CounterId::kPartial, 1);
    if (rank.rank == 2) {
      state.end_call();
      state.publish(CounterId::kReduced, 1);
      rank.tell("done");
      _exit(0);  // the Group is not destroyed
    }
    if (rank.rank == 1) {
      rank.await_go();
      state.publish(CounterId::kReduced, 1);
    }
    const Status status = state.wait_all(CounterId::kReduced, rank.rank == 0 ? 1 : 0, {"x"});
    state.end_call();
    EXPECT_TRUE(status.ok()) << status.to_string();
    // But it is missed in the next call.
    return group.barrier().to_string();
  });
  ASSERT_TRUE(processes.await(2, "done"));
  EXPECT_EQ(processes.finish(2).exit_code, 0);
  // Rank 0 looks for the dead several times meanwhile.
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  processes.go(1);
  for (int rank = 0; rank < 2; ++rank) {
    const Outcome outcome = processes.finish(rank);
    EXPECT_TRUE(outcome.clean());
    EXPECT_THAT(outcome.text, HasSubstr("peer lost: barrier: rank 2 is gone"));
  }
}

TEST(FaultDrills, StoppedRankEndsAtTheDeadline) {
  Processes processes(3, [](Rank& rank) {
    GroupOptions options = quick_options();
    options.exec_timeout_s = 0.8;
    Group group = join(rank, options);
    (void)group.barrier();
    rank.tell("formed");
    rank.await_go();
    const std::int64_t begin = testing::monotonic_ns();
    const Status status = group.barrier();
    EXPECT_GE(testing::monotonic_ns() - begin, kSecond * 7 / 10);
    EXPECT_LE(testing::monotonic_ns() - begin, kSecond * 3);
    return status.to_string();
  });
  for (int rank = 0; rank < 3; ++rank) ASSERT_TRUE(processes.await(rank, "formed"));
  processes.kill(1, SIGSTOP);
  processes.go(0);
  processes.go(2);
  const Outcome first = processes.finish(0), last = processes.finish(2);
  EXPECT_TRUE(first.clean() && last.clean());
  EXPECT_THAT(first.text,
              AllOf(StartsWith("timeout: barrier: rank "),
                    HasSubstr("the start of the call from rank 1 (calls entered 1 of 2)"),
                    HasSubstr("rank 1 has not entered call 2 (it is at call 1). It may be stopped"),
                    HasSubstr("the limit is 0.8 s")));
  EXPECT_EQ(first.text, last.text);
}

TEST(FaultDrills, LeavingEarlyIsPeerLost) {
  const auto outcomes = run_ranks(3, [](Rank& rank) {
    Group group = join(rank);
    EXPECT_TRUE(group.barrier().ok());
    return rank.rank == 1 ? std::string("left") : group.barrier().to_string();
  });
  EXPECT_THAT(outcomes[0].text, HasSubstr("peer lost: barrier: rank 1 "));
  EXPECT_EQ(outcomes[0].text, outcomes[2].text);
}

TEST(FaultDrills, MismatchBetweenProcesses) {
  const auto outcomes = run_ranks(3, [](Rank& rank) {
    Group group = join(rank);
    Status status = group.state().begin_call(CallHeader("op").add("k", rank.rank == 1 ? 3 : 2));
    if (status.ok()) status = group.state().check_peers();
    return status.to_string();
  });
  for (const Outcome& outcome : outcomes)
    EXPECT_EQ(
        outcome.text,
        "mismatch: op: k is 2 on rank 0 but 3 on rank 1. Give it the same value on every rank "
        "and form a new group.");
}

TEST(FaultDrills, NewGroupAtOnceInTheSurvivors) {
  const UniqueId second = UniqueId::create().value();
  Processes processes(3, [&](Rank& rank) {
    Group group = join(rank);
    if (rank.rank == 2) {
      rank.tell("in");
      while (true) pause();
    }
    const Status lost = group.barrier();
    EXPECT_EQ(lost.code(), StatusCode::kPeerLost);
    auto fresh = Group::join(second, rank.rank, 2, quick_options());
    if (!fresh.ok()) return fresh.status().to_string();
    return fresh->barrier().to_string();
  });
  ASSERT_TRUE(processes.await(2, "in"));
  processes.kill(2);
  EXPECT_EQ(processes.finish(0).text, "ok");
  EXPECT_EQ(processes.finish(1).text, "ok");
}

TEST(FaultDrills, ForkedChildOfARankDoesNotLeaveForIt) {
  run_ranks(2, [](Rank& rank) {
    Group group = join(rank);
    const pid_t child = fork();
    if (child == 0) {
      { Group copy = std::move(group); }  // destroyed in the child
      _exit(0);
    }
    EXPECT_GT(child, 0);
    for (int i = 0; i < 3; ++i) {
      // The other one sleeps and looks meanwhile.
      if (rank.rank == i % 2) std::this_thread::sleep_for(std::chrono::milliseconds(60));
      const Status status = group.barrier();
      EXPECT_TRUE(status.ok()) << status.to_string();
    }
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
    return std::string();
  });
}

// It is told so, whatever it calls, and the ranks go on.
TEST(FaultDrills, ForkedChildOfARankIsNotTheRank) {
  run_ranks(2, [](Rank& rank) {
    Group group = join(rank);
    EXPECT_TRUE(group.barrier().ok());
    const int parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
      const std::string text = group.barrier().to_string();
      group.abort("in the child");
      EXPECT_EQ(text, group.state().poison(Status(StatusCode::kInternal, "x")).to_string());
      EXPECT_EQ(text, group.health().to_string());
      EXPECT_THAT(text, AllOf(StartsWith("invalid argument: group: \"weft-"),
                              HasSubstr("belongs to process " + std::to_string(parent) + ","),
                              HasSubstr("process " + std::to_string(getpid()) + " is a forked")));
      const auto fresh = Group::local(1);
      EXPECT_TRUE(fresh.ok() && fresh->front().health().ok());
      _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return group.barrier().to_string();
  });
}

TEST(FaultDrills, ProcessesWithSeveralRanksEach) {
  // Ranks 0..3 are threads of one process, 4..7 of another, which is then killed.
  Processes processes(2, [](Rank& process) {
    std::vector<std::string> texts(4);
    testing::run_threads(4, [&](int thread) {
      const int rank = process.rank * 4 + thread;
      auto group = Group::join(process.id, rank, 8, quick_options());
      EXPECT_TRUE(group.ok()) << group.status().to_string();
      if (!group.ok()) return;
      EXPECT_TRUE(group->barrier().ok());
      if (thread == 0) process.tell("formed");
      if (process.rank == 1)
        while (true) pause();
      texts[static_cast<std::size_t>(thread)] = group->barrier().to_string();
    });
    for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
    return texts[0];
  });
  ASSERT_TRUE(processes.await(0, "formed"));
  ASSERT_TRUE(processes.await(1, "formed"));
  const std::int64_t killed_ns = processes.kill(1);
  const Outcome outcome = processes.finish(0);
  EXPECT_TRUE(outcome.clean());
  EXPECT_THAT(outcome.text, StartsWith("peer lost: barrier: rank "));
  EXPECT_LT(outcome.finished_ns - killed_ns, kSecond);
}

}  // namespace
}  // namespace weft
