// SPDX-License-Identifier: Apache-2.0
// A planned call asks for no memory when it runs.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cstdlib>
#include <new>
#include <string>
#include <tuple>
#include <vector>

#include "base/memory.h"
#include "counted_memory.h"
#include "operator_call.h"
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

/// Heap and maps that `calls` calls on all ranks ask for, after the first.
MemoryRequests requests_of(std::vector<Group>& groups, const OperatorCase& c, int threads,
                           int calls) {
  const Ranks data = make_ranks(c, static_cast<int>(groups.size()));
  std::barrier together(std::ssize(groups));
  MemoryRequests before, after;
  std::atomic<bool> ok = true;
  on_all(groups, [&](Group& group) {
    const RankData& mine = *data[static_cast<std::size_t>(group.rank())];
    Context context = Context::create({.threads = threads}).value();
    auto planned = plan(context, group, c, mine);
    bool all_ok = planned.ok() && (*planned)->run(mine).ok();
    together.arrive_and_wait();
    if (group.rank() == 0) before = memory_requests();
    together.arrive_and_wait();
    for (int i = 0; i < calls && all_ok; ++i) all_ok = (*planned)->run(mine).ok();
    together.arrive_and_wait();
    if (group.rank() == 0) after = memory_requests();
    together.arrive_and_wait();
    if (!all_ok) ok = false;
  });
  EXPECT_TRUE(ok);
  return {after.heap - before.heap, after.maps - before.maps};
}

TEST_P(AllocationTest, RunAsksForNothing) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  const auto& [transport, threads, super_block_rows] = GetParam();
  std::vector<Group> groups = make_groups(transport, 2, operator_group_options());
  for (const char* row : {"A1", "A2", "A3", "A5", "A6", "A9", "N1", "N2", "Q1", "Q3", "Q4", "Q5",
                          "W1", "W4", "R1", "R2", "R3", "R5"})
    for (const WeightForm weight :
         {WeightForm::kStrided, WeightForm::kFractalNz, WeightForm::kPacked}) {
      OperatorCase c = plain_case(row, row[0] == 'R' ? "64x100:100x72" : "4x16x100:100x72");
      // int8 communication where there is one, but not with packed weights.
      add_options(c, weight != WeightForm::kPacked);
      c.super_block_rows = super_block_rows;
      c.layout = {.x1_padded = true, .vectors_strided = true, .weight = weight};
      const bool weight_quant = c.operands.row->scenario() == ops::Scenario::kWeightQuant;
      if (weight == WeightForm::kPacked && weight_quant) continue;
      if (weight == WeightForm::kFractalNz &&
          (!c.op().traits().nz_weights || c.operands.row->x2 == DType::kInt4))
        continue;
      SCOPED_TRACE(c.text(2));
      const MemoryRequests requests = requests_of(groups, c, threads, 5);
      EXPECT_EQ(requests.heap, 0);
      EXPECT_EQ(requests.maps, 0);
    }
}

INSTANTIATE_TEST_SUITE_P(All, AllocationTest,
                         ::testing::Combine(::testing::Values("loopback", "shm"),
                                            ::testing::Values(1, 2),
                                            ::testing::Values<std::int64_t>(0, 5)));

}  // namespace
}  // namespace weft::testing
