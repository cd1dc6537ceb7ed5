// SPDX-License-Identifier: Apache-2.0
// A planned call asks for no memory when it runs, nor does a collective.
#include <gtest/gtest.h>

#include <array>
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
#include "weft/collectives.h"

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

/// Heap and maps that 5 calls on all ranks ask for, after the first. prepare(context, group) is a
/// function that makes a rank's call and returns whether it worked.
template <typename Prepare>
MemoryRequests requests_of(std::vector<Group>& groups, int threads, const Prepare& prepare) {
  std::barrier together(std::ssize(groups));
  MemoryRequests before, after;
  std::atomic<bool> ok = true;
  on_all(groups, [&](Group& group) {
    Context context = Context::create({.threads = threads}).value();
    auto call = prepare(context, group);
    bool all_ok = call();
    together.arrive_and_wait();
    if (group.rank() == 0) before = memory_requests();
    together.arrive_and_wait();
    for (int i = 0; i < 5 && all_ok; ++i) all_ok = call();
    together.arrive_and_wait();
    if (group.rank() == 0) after = memory_requests();
    together.arrive_and_wait();
    if (!all_ok) ok = false;
  });
  EXPECT_TRUE(ok);
  return {after.heap - before.heap, after.maps - before.maps};
}

MemoryRequests requests_of(std::vector<Group>& groups, const OperatorCase& c, int threads) {
  const Ranks data = make_ranks(c, static_cast<int>(groups.size()));
  return requests_of(groups, threads, [&](Context& context, Group& group) {
    const RankData& mine = *data[static_cast<std::size_t>(group.rank())];
    return [&mine, planned = plan(context, group, c, mine)] {
      return planned.ok() && (*planned)->run(mine).ok();
    };
  });
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
      const MemoryRequests requests = requests_of(groups, c, threads);
      EXPECT_EQ(requests.heap, 0);
      EXPECT_EQ(requests.maps, 0);
    }
}

// Scratch is the Context's: a plan finds it there, and keeps what it has when a larger plan comes.
TEST_P(AllocationTest, NorDoesPlanningMapMemoryThatPlansBeforeHaveMapped) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  const auto& [transport, threads, super_block_rows] = GetParam();
  std::vector<Group> groups = make_groups(transport, 2, operator_group_options());
  for (const char* row : {"A1", "A3", "N2", "Q4", "W1", "R4"}) {
    OperatorCase c = plain_case(row, "64x100:100x72");
    add_options(c, true);
    c.super_block_rows = super_block_rows;
    SCOPED_TRACE(c.text(2));
    const Ranks data = make_ranks(c, 2);
    const MemoryRequests requests =
        requests_of(groups, threads, [&](Context& context, Group& group) {
          const RankData& mine = *data[static_cast<std::size_t>(group.rank())];
          return [&c, &context, &group, &mine] { return call(context, group, c, mine).ok(); };
        });
    EXPECT_EQ(requests.maps, 0);
  }
}

TEST_P(AllocationTest, NorDoesARunAfterALargerPlan) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  const auto& [transport, threads, super_block_rows] = GetParam();
  std::vector<Group> groups = make_groups(transport, 2, operator_group_options());
  OperatorCase small = plain_case("A1", "4x100:100x72"), large = plain_case("A1", "64x300:300x256");
  small.super_block_rows = super_block_rows;
  const Ranks data = make_ranks(small, 2), more = make_ranks(large, 2);
  const MemoryRequests requests = requests_of(groups, threads, [&](Context& context, Group& group) {
    const auto me = static_cast<std::size_t>(group.rank());
    const RankData& mine = *data[me];
    auto planned = plan(context, group, small, mine);
    EXPECT_TRUE(call(context, group, large, *more[me]).ok());
    return [&mine, planned = std::move(planned)] {
      return planned.ok() && (*planned)->run(mine).ok();
    };
  });
  EXPECT_EQ(requests.heap, 0);
  EXPECT_EQ(requests.maps, 0);
}

TEST(CollectiveAllocation, CallsAskForNothing) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  std::vector<Group> groups = make_groups("loopback", 2, operator_group_options());
  const MemoryRequests requests = requests_of(groups, 2, [](Context& context, Group& group) {
    std::vector<float> send(200'000, 1), recv(200'000);
    return [&, send, recv]() mutable {
      constexpr DType kType = DType::kFloat32;
      const std::array<std::int64_t, 2> counts{3, 5}, offsets{0, 9};
      void* const s = send.data();
      void* const r = recv.data();
      return allreduce(context, group, s, r, 200'000, kType).ok() &&
             weft::reduce(context, group, s, r, 7, kType, ReduceOp::kMax, 1).ok() &&
             reduce_scatter(context, group, s, r, 100'000, kType).ok() &&
             reduce_scatterv(context, group, s, counts, offsets, r, kType).ok() &&
             allgather(context, group, s, r, 100'000, kType).ok() &&
             allgatherv(context, group, s, r, counts, offsets, kType).ok() &&
             broadcast(context, group, s, 7, kType, 0).ok() &&
             scatter(context, group, s, r, 7, kType, 1).ok() &&
             alltoall(context, group, s, r, 100'000, kType).ok();
    };
  });
  EXPECT_EQ(requests.heap, 0);
  EXPECT_EQ(requests.maps, 0);
}

INSTANTIATE_TEST_SUITE_P(All, AllocationTest,
                         ::testing::Combine(::testing::Values("loopback", "shm"),
                                            ::testing::Values(1, 2),
                                            ::testing::Values<std::int64_t>(0, 5)));

}  // namespace
}  // namespace weft::testing
