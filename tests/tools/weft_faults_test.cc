// SPDX-License-Identifier: Apache-2.0
// Ranks that die or stop, and interrupts: weft ends soon, says why, and leaves no process behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "weft/trace.h"
#include "weft_tool.h"

namespace weft::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kOp = "matmul_allreduce_add_rmsnorm";

/// A job that runs until something ends it.
std::vector<std::string> endless(const std::string& timeout_s) {
  return {"run",         kOp,        "--ranks", "4",         "--random",
          "64x64:64x64", "--repeat", "1000000", "--timeout", timeout_s};
}

/// A process that has ended but whose new parent (init) does not collect it is gone too.
bool gone(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t name_end = stat.rfind(") ");
  return name_end == std::string::npos || stat[name_end + 2] == 'Z' || stat[name_end + 2] == 'X';
}

/// True when the processes are gone within a second.
bool all_gone(const std::vector<pid_t>& pids) {
  for (int i = 0; i < 100; ++i) {
    if (std::all_of(pids.begin(), pids.end(), gone)) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

/// Ranks in the middle of their calls.
std::vector<pid_t> await_running(const WeftTool& tool) {
  const std::vector<pid_t> ranks = tool.await_children(4);
  std::this_thread::sleep_for(milliseconds(700));
  return ranks;
}

double seconds_since(std::int64_t begin_ns) {
  return 1e-9 * static_cast<double>(trace_now_ns() - begin_ns);
}

TEST(WeftFaultsTest, AKilledRankEndsTheJob) {
  WeftTool tool(endless("60"));
  const std::vector<pid_t> ranks = await_running(tool);
  ASSERT_EQ(ranks.size(), 4u);
  const std::int64_t begin = trace_now_ns();
  ::kill(ranks[2], SIGKILL);
  const Ran ran = tool.wait();
  EXPECT_LT(seconds_since(begin), 3);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, StartsWith("weft: peer lost: rank 2 was killed by signal 9 (Killed).\nThe "
                                  "others ended because of it: rank 0: "));
  EXPECT_THAT(ran.err, HasSubstr("rank 2 is gone"));
  EXPECT_TRUE(all_gone(ranks));
}

TEST(WeftFaultsTest, AStoppedRankEndsTheJobAtTheDeadline) {
  WeftTool tool(endless("1"));
  const std::vector<pid_t> ranks = await_running(tool);
  ASSERT_EQ(ranks.size(), 4u);
  const std::int64_t begin = trace_now_ns();
  ::kill(ranks[1], SIGSTOP);
  const Ran ran = tool.wait();
  EXPECT_LT(seconds_since(begin), 15);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, StartsWith("weft: timeout: rank "));
  EXPECT_THAT(ran.err, HasSubstr("\nrank 1 did not end by itself and was killed.\n"));
  EXPECT_TRUE(all_gone(ranks));
}

TEST(WeftFaultsTest, InterruptsEndEverythingWith130) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    SCOPED_TRACE(signal);
    WeftTool tool(endless("60"));
    const std::vector<pid_t> ranks = await_running(tool);
    const std::int64_t begin = trace_now_ns();
    ::kill(tool.pid(), signal);
    const Ran ran = tool.wait();
    EXPECT_LT(seconds_since(begin), 2);
    EXPECT_EQ(ran.exit_code, 130);
    EXPECT_EQ(ran.err, "weft: interrupted, all ranks were ended\n");
    EXPECT_TRUE(all_gone(ranks));
  }
}

TEST(WeftFaultsTest, ATerminalInterruptsParentAndRanksAlike) {
  WeftTool tool(endless("60"));
  const std::vector<pid_t> ranks = await_running(tool);
  for (pid_t rank : ranks) ::kill(rank, SIGINT);
  ::kill(tool.pid(), SIGINT);
  const Ran ran = tool.wait();
  EXPECT_EQ(ran.exit_code, 130);
  EXPECT_EQ(ran.err, "weft: interrupted, all ranks were ended\n");
  EXPECT_TRUE(all_gone(ranks));
}

TEST(WeftFaultsTest, ThreadsAreInterruptedAsWell) {
  std::vector<std::string> arguments = endless("60");
  arguments.insert(arguments.end(), {"--transport", "threads"});
  WeftTool tool(arguments);
  std::this_thread::sleep_for(milliseconds(1000));
  ::kill(tool.pid(), SIGINT);
  const Ran ran = tool.wait();
  EXPECT_EQ(ran.exit_code, 130);
  EXPECT_EQ(ran.err, "weft: interrupted\n");
}

TEST(WeftFaultsTest, RanksDoNotOutliveAKilledWeft) {
  WeftTool tool(endless("60"));
  const std::vector<pid_t> ranks = await_running(tool);
  ::kill(tool.pid(), SIGKILL);
  tool.wait();
  EXPECT_TRUE(all_gone(ranks));
}

TEST(WeftFaultsTest, ProgramsEndWithWhatTheyStarted) {
  TemporaryFolder folder;
  const std::string pids = folder / "pids";
  WeftTool tool(
      {"run", "--ranks", "2", "--", "sh", "-c", "sleep 100 & echo $! >> " + pids + "; wait"});
  const std::vector<pid_t> ranks = tool.await_children(2);
  std::vector<pid_t> sleeps;
  for (int i = 0; i < 500 && sleeps.size() < 2; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    sleeps.clear();
    std::ifstream file(pids);
    for (pid_t pid; file >> pid;) sleeps.push_back(pid);
  }
  ASSERT_EQ(sleeps.size(), 2u);
  ::kill(tool.pid(), SIGINT);
  EXPECT_EQ(tool.wait().exit_code, 130);
  EXPECT_TRUE(all_gone(ranks));
  EXPECT_TRUE(all_gone(sleeps));
}

TEST(WeftFaultsTest, AProgramThatFailsIsNamed) {
  const Ran ran =
      weft({"run", "--ranks", "3", "--", "sh", "-c", "exit $((WEFT_RANK == 2 ? 7 : 0))"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.err, "weft: peer lost: rank 2 exited with code 7.\n");
  const Ran missing = weft({"run", "--ranks", "2", "--", "/no/such/program"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, StartsWith("weft: cannot start '/no/such/program': No such file"));
  EXPECT_EQ(weft({"run", "--ranks", "2", "--", "true"}).exit_code, 0);
}

}  // namespace
}  // namespace weft::testing
