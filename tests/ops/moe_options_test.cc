// SPDX-License-Identifier: Apache-2.0
// The options of dispatch and combine: TP groups that do not fit, rows that a pair has no room for,
// traces, and what plans say of themselves.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "moe_calls.h"
#include "ops/moe_dispatch/reference.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Numbers = std::vector<double>;

MoeCase in_pairs() {
  return {.ranks = 2,
          .tp = true,
          .tokens = {6, 5, 4, 3},
          .h = 24,
          .k = 2,
          .experts = {.moe_expert_num = 2}};
}

TEST(MoePairOptions, AGroupOfThreeIsNoPair) {
  std::vector<Group> three = make_groups("loopback", 3);
  MoeGroups groups(2, true);
  const MoeData data(in_pairs());
  Context context = context_with(1);
  const auto says = [&](std::string_view op, const auto& plan) {
    EXPECT_EQ(plan.status().message(),
              fmt::format("{} (rank 1): options.tp_group has 3 ranks but must have 2", op));
    EXPECT_EQ(plan.status().code(), StatusCode::kInvalidArgument);
  };
  Group& group = groups.experts(1);
  says("moe_dispatch",
       MoeDispatch::plan(context, group, data.dispatch(1), {.tp_group = three.data()}));
  says("moe_combine",
       MoeCombine::plan(context, group, data.combine(1), {.tp_group = three.data()}));
  says("moe_combine_add_rmsnorm",
       MoeCombineAddRmsNorm::plan(context, group, data.norm(1), {.tp_group = three.data()}));
}

TEST(MoePairOptions, RanksThatDisagreeAboutTp) {
  MoeGroups groups(2, true);
  const MoeData data(in_pairs());
  std::string texts[2];
  run_threads(2, [&](int r) {
    Context context = context_with(1);
    Group* pair = r == 0 ? groups.pair(0, 0) : nullptr;
    const Status status =
        moe_dispatch(context, groups.experts(r), data.dispatch(r), {.tp_group = pair});
    EXPECT_EQ(status.code(), StatusCode::kMismatch) << status.to_string();
    texts[r] = status.message();
  });
  EXPECT_THAT(texts[0], HasSubstr("TP is yes on rank 0 but no on rank 1"));
  EXPECT_EQ(texts[1], texts[0]);
}

// tp_send_counts of no dispatch on rank (1, 0), or on both of its pair: nobody waits for them.
TEST(MoePairOptions, CountsThatNoDispatchWrites) {
  for (const bool both : {false, true}) {
    MoeGroups groups(2, true);
    MoeData data(in_pairs());
    for (int r = 0; r < 2; ++r)
      for (int q = 0; q < 2; ++q) data.route_by_reference(r, q);
    std::vector<double> counts = both ? data.at(1, 0).tp_counts.values() : Numbers{1000, 3};
    if (both) --counts[0];
    data.at(1, 0).tp_counts.set(counts);
    if (both) data.at(1, 1).tp_counts.set(counts);
    groups.on_all([&](int r, int q) {
      Context context = context_with(1);
      const Status status = combine(context, groups, data, r, q);
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.to_string();
      EXPECT_THAT(status.message(), AllOf(StartsWith("moe_combine (rank 1): tp_send_counts are"),
                                          HasSubstr(std::to_string(static_cast<int>(counts[0])))));
    });
  }
}

/// What all say of expand_x of rank (1, 0) with less than `rows` rows.
void expect_no_room(const MoeData& data, std::int64_t rows) {
  SCOPED_TRACE(rows);
  MoeGroups groups(2, true);
  std::vector<Status> statuses(4), later(4);
  groups.on_all([&](int r, int q) {
    Context context = context_with(1);
    MoeDispatchArgs args = data.dispatch(r, q);
    if (r == 1 && q == 0)
      args.expand_x = TensorRef(args.expand_x.data(), args.expand_x.dtype(), {rows - 1, 24});
    const auto me = static_cast<std::size_t>(2 * r + q);
    statuses[me] =
        moe_dispatch(context, groups.experts(r, q), args, {.tp_group = groups.pair(r, q)});
    later[me] = moe_dispatch(context, groups.experts(r, q), args, {.tp_group = groups.pair(r, q)});
  });
  const Status& status = statuses[2];
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.to_string();
  EXPECT_THAT(status.message(),
              AllOf(StartsWith("moe_dispatch: "), HasSubstr("expand_x"),
                    HasSubstr(std::to_string(rows)), HasSubstr(std::to_string(rows - 1))));
  EXPECT_EQ(statuses[3].to_string(), status.to_string());  // its pair
  for (const Status& other : later) EXPECT_EQ(other.to_string(), status.to_string());
}

// Rank (1, 0) has no room for its own rows, or for those and the other's: the same error on all of
// its group or its pair, and on the others here or in their next call.
TEST(MoePairOptions, NoRoomForTheRows) {
  MoeData data(in_pairs());
  expect_no_room(data, data.rows(1));
  const MoeDispatchArgs own[] = {data.dispatch(0), data.dispatch(1)};
  expect_no_room(data, ops::reference_rows(own, 1));
}

// At once and in pieces.
TEST(MoeTrace, NamesEveryPeer) {
  MoeCase c = {.ranks = 3, .tokens = {20}, .h = 300, .k = 2, .experts = {.moe_expert_num = 6}};
  GroupOptions options = quick_options();
  options.window_bytes = 64 << 10;
  for (const std::int64_t tokens : {2, 60}) {
    c.tokens = {tokens};
    MoeGroups groups(3, false, options);
    const MoeData data(c);
    groups.on_all([&](int r, int) {
      Context context = context_with(1);
      Trace first, second, third;
      expect_ok(moe_dispatch(context, groups.experts(r), data.dispatch(r), {.trace = &first}));
      expect_ok(moe_combine(context, groups.experts(r), data.combine(r), {.trace = &second}));
      expect_ok(
          moe_combine_add_rmsnorm(context, groups.experts(r), data.norm(r), {.trace = &third}));
      for (const Trace* trace : {&first, &second, &third}) {
        std::set<int> peers;
        for (const TraceEvent& event : trace->events()) {
          EXPECT_LE(event.begin_ns, event.end_ns);
          if (event.peer >= 0) peers.insert(event.peer);
        }
        peers.erase(r);
        EXPECT_EQ(peers.size(), 2u);
        EXPECT_EQ(trace->dropped(), 0u);
      }
    });
  }
}

TEST(MoeDescribe, SaysWhatWasPlanned) {
  MoeGroups groups(3, false);
  MoeCase c = {.ranks = 3, .h = 24, .k = 2, .experts = {.moe_expert_num = 7}};
  c.experts.shared_expert_num = c.experts.shared_expert_rank_num = 1;
  const MoeData data(c);
  Context context = context_with(1);
  Group& group = groups.experts(1);
  const std::string texts[] = {
      MoeDispatch::plan(context, group, data.dispatch(1)).value().describe(),
      MoeCombine::plan(context, group, data.combine(1)).value().describe(),
      MoeCombineAddRmsNorm::plan(context, group, data.norm(1)).value().describe()};
  for (const std::string& text : texts)
    EXPECT_THAT(text, AllOf(HasSubstr("7 on 2 ranks, 1 shared on 1"), HasSubstr("window")));
}

}  // namespace
}  // namespace weft::testing
