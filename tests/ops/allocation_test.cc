// SPDX-License-Identifier: Apache-2.0
// A planned call asks for no memory when it runs.
#include <gtest/gtest.h>

#include <barrier>
#include <cstdlib>
#include <new>
#include <string>
#include <tuple>

#include "base/memory.h"
#include "counted_memory.h"
#include "operator_case.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

TEST(CountedMemory, SeesAllWaysToAsk) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  const MemoryRequests before = memory_requests();
  void* volatile keep = ::operator new(100);
  ::operator delete(keep);
  keep = std::malloc(100);
  std::free(keep);
  keep = std::aligned_alloc(64, 128);
  std::free(keep);
  EXPECT_EQ(memory_requests().heap - before.heap, 3);
  EXPECT_TRUE(Buffer::allocate(4096, "a test").ok());
  EXPECT_GE(memory_requests().maps - before.maps, 1);
}

// transport, threads per rank, super-block rows
class AllocationTest : public ::testing::TestWithParam<std::tuple<std::string, int, std::int64_t>> {
};

TEST_P(AllocationTest, RunAsksForNothing) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  const auto& [transport, threads, super_block_rows] = GetParam();
  constexpr int kRanks = 2, kCalls = 5;
  std::vector<Group> groups = make_groups(transport, kRanks, operator_group_options());
  for (const char* row : {"A1", "A2", "A3", "A5", "A6", "A9"}) {
    OperatorCase c = plain_case(row, "4x16x100:100x72");
    c.operands.with = {tools::OperandId::kBias, tools::OperandId::kAntiquantOffset};
    c.layout = {.x1_padded = true, .vectors_strided = true};
    SCOPED_TRACE(c.text(kRanks));
    const Ranks data = make_ranks(c, kRanks);
    std::barrier together(kRanks);
    MemoryRequests before, after;
    bool ok = true;
    on_all(groups, [&, threads = threads, rows = super_block_rows](Group& group) {
      const RankData& mine = *data[static_cast<std::size_t>(group.rank())];
      Context context = Context::create({.threads = threads}).value();
      auto plan =
          MatmulAllReduceAddRmsNorm::plan(context, group, mine.args(), {.super_block_rows = rows});
      const MatmulAllReduceAddRmsNormArgs args = mine.args();
      bool all_ok = plan.ok() && plan->run(args).ok();
      together.arrive_and_wait();
      if (group.rank() == 0) before = memory_requests();
      together.arrive_and_wait();
      for (int i = 0; i < kCalls && all_ok; ++i) all_ok = plan->run(args).ok();
      together.arrive_and_wait();
      if (group.rank() == 0) after = memory_requests();
      together.arrive_and_wait();
      if (!all_ok) ok = false;
    });
    EXPECT_TRUE(ok);
    EXPECT_EQ(after.heap - before.heap, 0);
    EXPECT_EQ(after.maps - before.maps, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, AllocationTest,
                         ::testing::Combine(::testing::Values("loopback", "shm"),
                                            ::testing::Values(1, 2),
                                            ::testing::Values<std::int64_t>(0, 5)));

}  // namespace
}  // namespace weft::testing
