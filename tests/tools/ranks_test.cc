// SPDX-License-Identifier: Apache-2.0
#include "jobs/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "../base/scoped_env.h"
#include "base/topology.h"
#include "weft/trace.h"

namespace weft::tools {
namespace {

using ::testing::HasSubstr;

RankEnd returned(StatusCode code, const char* message) {
  RankEnd end;
  end.returned = true;
  end.status = Status(code, message);
  return end;
}

RankEnd ok() {
  RankEnd end;
  end.returned = true;
  return end;
}

RankEnd killed(int signal) {
  RankEnd end;
  end.wait_status = signal;
  return end;
}

TEST(CombineTest, AllOkIsOk) { EXPECT_TRUE(combine({ok(), ok()}).ok()); }

TEST(CombineTest, TheSameTextIsSaidOnce) {
  const Status status = combine({returned(StatusCode::kInvalidArgument, "op: bad"),
                                 returned(StatusCode::kInvalidArgument, "op: bad")});
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "op: bad");
}

TEST(CombineTest, CausesComeBeforeTheirEffects) {
  const RankEnd lost = returned(StatusCode::kPeerLost, "op: rank 1 left");
  const RankEnd late = returned(StatusCode::kTimeout, "op: rank 1 is late");
  const RankEnd differs = returned(StatusCode::kMismatch, "op: m differs");
  const RankEnd refused = returned(StatusCode::kInvalidArgument, "op: m is 0");
  EXPECT_EQ(combine({lost, late}).message(), "rank 1: op: rank 1 is late");
  EXPECT_EQ(combine({lost, late, differs}).message(), "rank 2: op: m differs");
  EXPECT_EQ(combine({lost, refused, late, differs}).message(), "rank 1: op: m is 0");
}

TEST(CombineTest, ADeathIsTheCauseOfAll) {
  const RankEnd lost = returned(StatusCode::kPeerLost, "op: rank 1 has died");
  const Status status = combine({lost, killed(SIGKILL), lost});
  EXPECT_EQ(status.code(), StatusCode::kPeerLost);
  EXPECT_EQ(status.message(),
            "rank 1 was killed by signal 9 (Killed).\nThe others ended because of it: rank 0: op: "
            "rank 1 has died");
}

TEST(CombineTest, RanksThatHadToBeKilledAreNamed) {
  RankEnd stuck = killed(SIGKILL);
  stuck.stopped_late = true;
  EXPECT_EQ(combine({returned(StatusCode::kTimeout, "op: rank 1 is late"), stuck}).message(),
            "rank 0: op: rank 1 is late\nrank 1 did not end by itself and was killed.");
}

class RunRanksTest : public ::testing::TestWithParam<RankKind> {
 protected:
  LaunchOptions launch(int ranks) const {
    LaunchOptions options;
    options.ranks = ranks;
    options.kind = GetParam();
    options.context.threads = 1;
    options.group.exec_timeout_s = 20;
    return options;
  }
};

TEST_P(RunRanksTest, BringsHomeTheValuesInRankOrder) {
  const auto values = run_ranks(launch(5), [](Rank& rank) -> Result<Bytes> {
    WEFT_RETURN_IF_ERROR(rank.group.barrier());
    Bytes value(300000, 7);  // larger than a pipe holds
    value[0] = static_cast<std::uint8_t>(rank.rank);
    value[1] = static_cast<std::uint8_t>(rank.group.ranks());
    return value;
  });
  ASSERT_TRUE(values.ok()) << values.status().to_string();
  ASSERT_EQ(values->size(), 5u);
  for (int rank = 0; rank < 5; ++rank) {
    const Bytes& value = (*values)[static_cast<std::size_t>(rank)];
    ASSERT_EQ(value.size(), 300000u);
    EXPECT_EQ(value.front(), rank);
    EXPECT_EQ(value[1], 5);
    EXPECT_EQ(value.back(), 7);
  }
}

TEST_P(RunRanksTest, TheErrorOfOneRankIsTheErrorOfAll) {
  const auto values = run_ranks(launch(3), [](Rank& rank) -> Result<Bytes> {
    if (rank.rank == 1) return Status(StatusCode::kInvalidArgument, "its own fault");
    WEFT_RETURN_IF_ERROR(rank.group.barrier());
    return Bytes();
  });
  EXPECT_EQ(values.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(values.status().message(), "rank 1: its own fault");
}

TEST_P(RunRanksTest, AnExceptionIsAnError) {
  const auto values =
      run_ranks(launch(2), [](Rank&) -> Result<Bytes> { throw std::runtime_error("thrown"); });
  EXPECT_EQ(values.status().code(), StatusCode::kInternal);
  EXPECT_THAT(values.status().message(), HasSubstr("thrown"));
}

/// The affinity mask of the calling thread, as CBOR.
Result<Bytes> mask_of_thread() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0)
    return Status(StatusCode::kInternal, "no affinity mask");
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return Json(cpus).cbor();
}

TEST_P(RunRanksTest, BoundRanksRunOnTheirCpus) {
  LaunchOptions options = launch(2);
  options.context.threads = 0;
  options.bind = Bind::kCore;
  const CpusOfRanks cpus = bind_ranks(2, Bind::kCore);
  const auto values = run_ranks(options, [&](Rank& rank) -> Result<Bytes> {
    const auto index = static_cast<std::size_t>(rank.rank);
    const bool fits = rank.context.threads() <= std::ssize(cpus[index]);
    return fits ? mask_of_thread() : Status(StatusCode::kInternal, "more threads than cpus");
  });
  ASSERT_TRUE(values.ok()) << values.status().to_string();
  for (std::size_t rank = 0; rank < 2; ++rank) {
    std::vector<int> sorted = cpus[rank];
    std::ranges::sort(sorted);
    EXPECT_EQ((*values)[rank], Json(sorted).cbor()) << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RunRanksTest,
                         ::testing::Values(RankKind::kProcesses, RankKind::kThreads),
                         [](const auto& info) {
                           return info.param == RankKind::kProcesses ? "Processes" : "Threads";
                         });

TEST(RunProcessesTest, ADeadRankEndsTheJobWithinSeconds) {
  LaunchOptions options;
  options.ranks = 4;
  options.context.threads = 1;
  const std::int64_t begin = trace_now_ns();
  const auto values = run_ranks(options, [](Rank& rank) -> Result<Bytes> {
    if (rank.rank == 2) ::raise(SIGKILL);
    WEFT_RETURN_IF_ERROR(rank.group.barrier());
    return Bytes();
  });
  EXPECT_EQ(values.status().code(), StatusCode::kPeerLost);
  EXPECT_THAT(values.status().message(), HasSubstr("rank 2 was killed by signal 9 (Killed).\nThe "
                                                   "others ended because of it: rank 0: "));
  EXPECT_LT(1e-9 * static_cast<double>(trace_now_ns() - begin), 4);
}

TEST(RunProgramTest, BindsAndNamesTheThreads) {
  const ScopedEnv unset("WEFT_THREADS", nullptr);
  const CpusOfRanks cpus = bind_ranks(1, Bind::kCore);
  const int threads = threads_of_rank(cpus, 0, topology().usable_cpus);
  const std::string want = "test $WEFT_THREADS = " + std::to_string(threads);
  EXPECT_TRUE(run_program(1, {"sh", "-c", want}, Bind::kCore).ok());
  EXPECT_TRUE(run_program(1, {"sh", "-c", "test -z \"$WEFT_THREADS\""}).ok());
  const ScopedEnv set("WEFT_THREADS", "77");
  EXPECT_TRUE(run_program(1, {"sh", "-c", "test $WEFT_THREADS = 77"}, Bind::kCore).ok());
}

TEST(RunProgramTest, SetsTheVariablesAndReportsTheFirstFailure) {
  EXPECT_TRUE(
      run_program(3, {"sh", "-c", "test $WEFT_RANKS = 3 && test ${#WEFT_UNIQUE_ID} = 256"}).ok());
  const Status failed = run_program(3, {"sh", "-c", "test $WEFT_RANK != 1 || exit 4"});
  EXPECT_EQ(failed.message(), "rank 1 exited with code 4.");
  const Status missing = run_program(2, {"/no/such/program"});
  EXPECT_EQ(missing.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(missing.message(),
            "cannot start '/no/such/program': No such file or directory.\nCheck the name and its "
            "permissions.");
}

}  // namespace
}  // namespace weft::tools
