// SPDX-License-Identifier: Apache-2.0
// A run of dispatch, of combine and of combine + add + RMSNorm asks for no memory.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>

#include "counted_memory.h"
#include "moe_calls.h"

namespace weft::testing {
namespace {

/// Heap and maps that `calls` calls on all ranks ask for, after the first.
MemoryRequests requests_of(const MoeCase& c, int threads, std::int64_t window_bytes) {
  GroupOptions options = quick_options();
  options.window_bytes = window_bytes;
  MoeGroups groups(c.ranks, c.tp, options);
  const MoeData data(c);
  std::barrier together(c.ranks * c.halves());
  MemoryRequests before, after;
  std::atomic<bool> ok = true;
  groups.on_all([&](int r, int q) {
    Context context = context_with(threads);
    Group& group = groups.experts(r, q);
    Group* pair = groups.pair(r, q);
    MoeDispatchCounts counts;
    auto first = MoeDispatch::plan(context, group, data.dispatch(r, q),
                                   {.tp_group = pair, .counts = &counts});
    auto second = MoeCombine::plan(context, group, data.combine(r, q), {.tp_group = pair});
    auto third = MoeCombineAddRmsNorm::plan(context, group, data.norm(r, q), {.tp_group = pair});
    const auto call = [&] {
      return first->run(data.dispatch(r, q)).ok() && second->run(data.combine(r, q)).ok() &&
             third->run(data.norm(r, q)).ok();
    };
    bool all_ok = first.ok() && second.ok() && third.ok() && call();
    together.arrive_and_wait();
    if (r + q == 0) before = memory_requests();
    together.arrive_and_wait();
    for (int i = 0; i < 5 && all_ok; ++i) all_ok = call();
    together.arrive_and_wait();
    if (r + q == 0) after = memory_requests();
    together.arrive_and_wait();
    if (!all_ok) ok = false;
  });
  EXPECT_TRUE(ok);
  return {after.heap - before.heap, after.maps - before.maps};
}

TEST(MoeAllocation, RunAsksForNothing) {
  if (!counts_memory()) GTEST_SKIP() << "a sanitizer has the allocator";
  const MoeCase plain = {.ranks = 3,
                         .tokens = {70, 1, 40},
                         .h = 201,
                         .k = 3,
                         .experts = {.moe_expert_num = 5,
                                     .zero_expert_num = 1,
                                     .copy_expert_num = 1,
                                     .const_expert_num = 1},
                         .mask = MaskForm::kEntries};
  MoeCase int8 = plain;
  int8.int8_rows = int8.scales = int8.int8_communication = true;
  int8.ids = Ids::kAnything;
  int8.experts.shared_expert_num = int8.experts.shared_expert_rank_num = 1;
  MoeCase pairs = plain;
  pairs.ranks = 2, pairs.tp = true;
  pairs.experts = {.moe_expert_num = 2};
  pairs.k = 2;
  for (const MoeCase& c : {plain, int8, pairs})
    for (const int threads : {1, 2})
      for (const std::int64_t window_bytes : {64 << 10, 16 << 20}) {
        SCOPED_TRACE(c.text());
        const MemoryRequests requests = requests_of(c, threads, window_bytes);
        EXPECT_EQ(requests.heap, 0);
        EXPECT_EQ(requests.maps, 0);
      }
}

}  // namespace
}  // namespace weft::testing
