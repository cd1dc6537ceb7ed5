// SPDX-License-Identifier: Apache-2.0
// What a dispatch and its combine touch of the windows follows from what is sent, and planning from
// the numbers of ranks and experts.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "comm/group_state.h"
#include "moe_calls.h"

namespace weft::testing {
namespace {

/// Bytes of a rank's window that are in memory.
std::int64_t resident(Group& group) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto bytes = static_cast<std::size_t>(group.window_bytes());
  std::vector<unsigned char> pages(bytes / page);
  EXPECT_EQ(mincore(group.state().window(group.rank()), bytes, pages.data()), 0);
  return std::ranges::count_if(pages, [](unsigned char p) { return p & 1; }) *
         static_cast<std::int64_t>(page);
}

GroupOptions usual_window() {
  GroupOptions options = quick_options();
  options.window_bytes = 0;
  return options;
}

TEST(MoeMemory, SixtyFourRanksTouchWhatTheySend) {
  const MoeCase c = {
      .ranks = 64, .tokens = {6}, .h = 4096, .k = 4, .experts = {.moe_expert_num = 64}, .slack = 0};
  MoeData data(c);
  MoeGroups groups(c.ranks, false, usual_window());
  std::vector<std::int64_t> before(64);
  for (int r = 0; r < c.ranks; ++r)
    before[static_cast<std::size_t>(r)] = resident(groups.experts(r));
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    expect_ok(dispatch(context, groups, data, r));
    expect_ok(norm(context, groups, data, r));
  });
  // A token once for all of its experts; from the experts every row.
  std::int64_t sent = 0, touched = 0;
  for (int r = 0; r < c.ranks; ++r) {
    sent += (c.tokens[0] + c.tokens[0] * c.k) * c.h * 2;
    touched += resident(groups.experts(r)) - before[static_cast<std::size_t>(r)];
  }
  EXPECT_GT(touched, sent / 2);  // entries of the own rank stay
  EXPECT_LT(touched, 3 * sent);
}

TEST(MoeMemory, ManyRanksAndExpertsPlanInLittleMemory) {
  constexpr int kRanks = 768;
  const MoeExperts experts = {.moe_expert_num = 1024};
  MoeGroups groups(kRanks, false, usual_window());
  Context context = context_with(1);
  Group& group = groups.experts(kRanks - 1);
  const std::int64_t before = resident(group);
  const std::int64_t local = local_expert_num(experts, group.rank(), kRanks);
  constexpr std::int64_t kTokens = 16, kHidden = 7168, kTop = 8, kRoom = kRanks * kTokens * 2;
  const auto shape = [](DType dtype, Dims dims) { return TensorRef(nullptr, dtype, dims); };
  MoeDispatchArgs args;
  args.x = shape(DType::kBFloat16, {kTokens, kHidden});
  args.expert_ids = shape(DType::kInt32, {kTokens, kTop});
  args.experts = experts;
  args.expand_x = shape(DType::kBFloat16, {kRoom, kHidden});
  args.assist_info_for_combine = shape(DType::kInt32, {3 * kRoom});
  args.expert_token_nums = shape(DType::kInt64, {local});
  args.ep_recv_counts = shape(DType::kInt32, {kRanks * local});
  const auto plan = MoeDispatch::plan(context, group, args);
  EXPECT_TRUE(plan.ok()) << plan.status().to_string();
  MoeCombineArgs back;
  back.expand_x = args.expand_x;
  back.expert_ids = args.expert_ids;
  back.assist_info_for_combine = args.assist_info_for_combine;
  back.ep_send_counts = args.ep_recv_counts;
  back.expert_scales = shape(DType::kFloat32, {kTokens, kTop});
  back.experts = experts;
  back.x = shape(DType::kBFloat16, {kTokens, kHidden});
  const auto way_back = MoeCombine::plan(context, group, back);
  EXPECT_TRUE(way_back.ok()) << way_back.status().to_string();
  EXPECT_EQ(resident(group), before);
}

TEST(MoeMemory, ManyRanksExchange) {
  const MoeCase c = {.ranks = 300,
                     .tokens = {1, 0, 2},
                     .h = 32,
                     .k = 3,
                     .experts = {.moe_expert_num = 400},
                     .slack = 0};
  MoeData data(c);
  MoeGroups groups(c.ranks, false, usual_window());
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    expect_ok(dispatch(context, groups, data, r));
    expect_ok(norm(context, groups, data, r));
  });
  for (const int r : {0, 1, 150, 299}) {
    data.expect_dispatched(r);
    data.expect_normed(r);
  }
}

}  // namespace
}  // namespace weft::testing
