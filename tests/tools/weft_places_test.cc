// SPDX-License-Identifier: Apache-2.0
// Where ranks and memory are: --bind, and what info and explain say of nodes and huge pages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "../base/scoped_env.h"
#include "base/affinity.h"
#include "base/binding.h"
#include "base/memory_use.h"
#include "base/topology.h"
#include "files/json.h"
#include "jobs/binding.h"
#include "terminal/text.h"
#include "weft_tool.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using tools::CpusOfRanks;

TEST(ThreadsOfRank, AreItsPartOfTheCpusAndOfWhatMayBeUsed) {
  const std::vector<int> first = {0, 1, 2, 3}, second = {4, 5, 6, 7};
  const CpusOfRanks sockets = {first, first, second, second};
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(tools::threads_of_rank(sockets, rank, 8), 2);
  EXPECT_EQ(tools::threads_of_rank(sockets, 0, 4), 1);  // a quota of four cpus
  EXPECT_EQ(tools::threads_of_rank(sockets, 0, 2), 1);
  const CpusOfRanks two_and_one = {first, first, second};
  EXPECT_EQ(tools::threads_of_rank(two_and_one, 1, 8), 2);
  EXPECT_EQ(tools::threads_of_rank(two_and_one, 2, 100), 4);
  EXPECT_EQ(tools::threads_of_rank({{0}, {0}, {1}}, 0, 2), 1);  // more ranks than cpus
}

TEST(BindingText, HasALineForNeighboursWithTheSameCpus) {
  const std::string text =
      tools::binding_text({{0}, {1 << 20, (1 << 20) + 2}, {1 << 20, (1 << 20) + 2}});
  EXPECT_THAT(text, HasSubstr("rank 0: cpu 0"));
  EXPECT_THAT(text, HasSubstr("\nranks 1-2: cpus 1048576,1048578\n"));  // in no node
}

TEST(CpusText, JoinsNeighbours) {
  EXPECT_EQ(tools::cpus_text({}), "none");
  EXPECT_EQ(tools::cpus_text({7}), "7");
  EXPECT_EQ(tools::cpus_text({8, 0, 9, 1, 3, 10}), "0-1,3,8-10");
}

/// A machine that has both cpus 0 and 1, each in a socket of its own.
class TwoSockets : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int cpu : {0, 1})
      if (std::ranges::count(topology().allowed_cpus, cpu) == 0)
        GTEST_SKIP() << "cpus 0 and 1 are not both allowed here";
  }
  const ScopedEnv machine_{"HWLOC_SYNTHETIC", "pack:2 [numa] core:1 pu:1"};
};

TEST_F(TwoSockets, EachRankGetsOne) {
  const Ran ran = weft({"run", "--ranks", "2", "--bind", "socket", "--verbose", "--", "sh", "-c",
                        "test $WEFT_THREADS = 1 && test $(nproc) = 1"});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.err, "rank 0: cpu 0 of NUMA node 0\nrank 1: cpu 1 of NUMA node 1\n");
}

TEST_F(TwoSockets, RanksOfAnOperatorComputeThere) {
  for (const char* transport : {"processes", "threads"}) {
    const Ran ran = weft({"run", "matmul_allreduce", "--random", "8x16:16x32", "--ranks", "4",
                          "--bind", "numa", "--transport", transport, "--verbose", "--pin"});
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_EQ(ran.err, "ranks 0-1: cpu 0 of NUMA node 0\nranks 2-3: cpu 1 of NUMA node 1\n");
  }
}

TEST_F(TwoSockets, AreInInfo) {
  const Ran ran = weft({"info"});
  EXPECT_THAT(ran.out, HasSubstr("2 NUMA node(s)\n"));
  EXPECT_THAT(ran.out, HasSubstr("\nnode 0    cpus 0, "));
  EXPECT_THAT(ran.out, HasSubstr("\nnode 1    cpus 1, "));
}

TEST(Bind, SaysThatThereIsNothingToChoose) {
  const ScopedEnv machine("HWLOC_SYNTHETIC", "pack:1 [numa] core:2 pu:1");
  for (const auto& [bind, place] : {std::pair{"socket", "socket"}, {"numa", "NUMA node"}}) {
    const Ran ran = weft({"run", "--ranks", "2", "--bind", bind, "--", "true"});
    EXPECT_EQ(ran.exit_code, 0);
    EXPECT_EQ(ran.err, std::string("--bind ") + bind + ": there is one " + place +
                           ", all ranks share its cpus.\n");
  }
  EXPECT_EQ(weft({"run", "--ranks", "2", "--bind", "core", "--", "true"}).err, "");
  const Ran wrong = weft({"run", "--bind", "moon", "--", "true"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, StartsWith("weft: --bind: moon not in {"));
}

// Launchers bind a process before it starts.
TEST(AffinityMask, OfTheProcessIsWhatCounts) {
  const int cpu = topology().allowed_cpus.back();
  Ran info, run;
  std::thread([&] {  // what it starts inherits its mask
    ASSERT_TRUE(bind_this_thread({cpu}));
    info = weft({"info", "--json"});
    run = weft({"run", "add_rmsnorm", "--random", "4x64", "--json"});
  })
      .join();
  EXPECT_EQ(tools::JsonValue::parse(info.out)["topology"]["usable_cpus"].integer(), 1) << info.err;
  EXPECT_EQ(tools::JsonValue::parse(run.out)["threads_per_rank"].integer(), 1) << run.err;
}

TEST(HugePages, InfoSaysWhatIsSetAndWhatItGives) {
  const Ran ran = weft({"info", "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const auto info = tools::JsonValue::parse(ran.out);
  const HugePageSettings settings = huge_page_settings();
  for (const auto& [name, setting, gives] :
       {std::tuple{"anonymous", settings.anonymous, settings.gives_anonymous()},
        {"shared", settings.shared, settings.gives_shared()}}) {
    const auto row = info["huge_pages"][name];
    EXPECT_EQ(row["setting"].string(), setting);
    EXPECT_EQ(row["touched_bytes"].integer(), 16 << 20) << name;
    EXPECT_LE(row["huge_page_bytes"].integer(), gives ? 16 << 20 : 0) << name;
  }
  EXPECT_THAT(weft({"info"}).out, HasSubstr("\nwindows of processes "));
}

TEST(HugePages, ExplainSaysItOfWindowAndWeight) {
  const auto explain = [](std::vector<std::string> rest) {
    rest.insert(rest.begin(), "explain");
    return weft(std::move(rest)).out;
  };
  const std::string dense = explain({"matmul_allreduce", "8x512:512x4096", "--ranks", "2"});
  EXPECT_THAT(dense, HasSubstr("\nmemory    touched window: 16.0 MiB, of which "));
  EXPECT_THAT(dense, HasSubstr("\nmemory    x2 packed: 8.00 MiB, of which "));
  // A caller cannot pack quantised weights.
  EXPECT_THAT(explain({"matmul_allreduce", "8x512:512x64", "--row", "W1"}),
              Not(HasSubstr("packed: ")));
  const std::string ffn = explain({"ffn", "8x64:128", "--experts", "3"});
  EXPECT_THAT(ffn, HasSubstr("\nmemory    weight2 packed: "));
  EXPECT_THAT(ffn, Not(HasSubstr("window: ")));
  EXPECT_THAT(explain({"moe_dispatch", "8x64", "--ranks", "40"}),
              HasSubstr("0 B in huge pages: none are asked for with so many ranks\n"));
}

}  // namespace
}  // namespace weft::testing
