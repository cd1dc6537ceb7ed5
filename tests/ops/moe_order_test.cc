// SPDX-License-Identifier: Apache-2.0
// Calls in any order a program may make them in: many in a row with ranks that dawdle, several
// dispatches before their combines, beside other operators, in two groups at once; and what is said
// of ids, and of expand_x if it is too small.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "moe_calls.h"
#include "weft/collectives.h"
#include "weft/ops/matmul_allreduce.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

MoeCase small(int ranks, unsigned seed = 1) {
  return {.ranks = ranks,
          .tokens = {3, 7, 0, 12},
          .h = 24,
          .k = 2,
          .experts = {.moe_expert_num = 2 * ranks},
          .seed = seed};
}

/// What a dispatch and its combine leave on all ranks, right as the references say.
struct Bits {
  std::vector<std::vector<double>> expand_x, combined;
};
Bits right_bits(MoeGroups& groups, const MoeData& data) {
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    expect_ok(dispatch(context, groups, data, r));
    expect_ok(combine(context, groups, data, r));
  });
  Bits bits;
  for (int r = 0; r < data.fields.ranks; ++r) {
    data.expect_dispatched(r), data.expect_combined(r);
    bits.expand_x.push_back(data.at(r).expand_x.values());
    bits.combined.push_back(data.at(r).combined.values());
  }
  return bits;
}
/// The canary is nan.
void expect_same(const std::vector<double>& got, const std::vector<double>& want, int call) {
  ASSERT_EQ(got.size(), want.size());
  if (got.empty()) return;
  EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(double)), 0) << call;
}

// Plans are kept, as programs with many layers keep them. The windows are so small that one of the
// two cases goes in pieces.
class MoePairs : public ::testing::TestWithParam<std::tuple<int, std::int64_t>> {};

TEST_P(MoePairs, ThousandInARowWithDelays) {
  const auto& [ranks, window_bytes] = GetParam();
  GroupOptions options = quick_options();
  options.window_bytes = window_bytes;
  MoeGroups groups(ranks, false, options);
  std::vector<std::unique_ptr<MoeData>> layers;
  std::vector<Bits> right;
  for (unsigned seed = 1; seed <= 3; ++seed) {
    MoeCase c = small(ranks, seed);
    if (seed == 3) c.tokens = {90, 1, 60}, c.h = 200;
    layers.push_back(std::make_unique<MoeData>(c));
    right.push_back(right_bits(groups, *layers.back()));
  }
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    std::mt19937 rng(static_cast<unsigned>(r));
    const auto dawdle = [&] {
      if (rng() % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(rng() % 1000));
    };
    std::vector<MoeDispatch> dispatches;
    std::vector<MoeCombine> combines;
    for (const auto& layer : layers) {
      dispatches.push_back(
          MoeDispatch::plan(context, groups.experts(r), layer->dispatch(r)).value());
      combines.push_back(MoeCombine::plan(context, groups.experts(r), layer->combine(r)).value());
    }
    for (int i = 0; i < 1000; ++i) {
      const auto which = static_cast<std::size_t>(i % 20 == 19 ? 2 : i % 2);
      MoeRank& mine = layers[which]->at(r);
      mine.expand_x.reset(), mine.assist.reset(), mine.combined.reset();
      dawdle();
      expect_ok(dispatches[which].run(layers[which]->dispatch(r)));
      dawdle();
      expect_ok(combines[which].run(layers[which]->combine(r)));
      if (i % 7 != 0 || HasFailure()) continue;
      const auto me = static_cast<std::size_t>(r);
      expect_same(mine.expand_x.values(), right[which].expand_x[me], i);
      expect_same(mine.combined.values(), right[which].combined[me], i);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(All, MoePairs,
                         ::testing::Values(std::tuple{2, std::int64_t{1} << 20},
                                           std::tuple{3, std::int64_t{64} << 10}),
                         [](const auto& test) {
                           return fmt::format("ranks{}_window{}", std::get<0>(test.param),
                                              std::get<1>(test.param));
                         });

TEST(MoeOrder, TwoDispatchesThenTwoCombines) {
  MoeGroups groups(3, false);
  MoeData one(small(3, 1)), two(small(3, 2));
  for (const bool backwards : {false, true}) {
    groups.on_all([&](int r, int) {
      Context context = context_with(1);
      expect_ok(dispatch(context, groups, one, r));
      expect_ok(dispatch(context, groups, two, r));
      MoeData& first = backwards ? two : one;
      MoeData& second = backwards ? one : two;
      expect_ok(combine(context, groups, first, r));
      expect_ok(combine(context, groups, second, r));
    });
    for (MoeData* data : {&one, &two}) {
      for (int r = 0; r < 3; ++r) data->expect_dispatched(r);
      for (int r = 0; r < 3; ++r) data->expect_combined(r);
      data->reset_outputs();
    }
  }
}

TEST(MoeOrder, ADispatchMayBeCombinedTwice) {
  MoeGroups groups(3, false);
  MoeData data(small(3));
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    expect_ok(dispatch(context, groups, data, r));
    expect_ok(combine(context, groups, data, r));
  });
  for (int r = 0; r < 3; ++r) data.expect_combined(r);
  data.reset_outputs();
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    expect_ok(norm(context, groups, data, r));
  });
  for (int r = 0; r < 3; ++r) data.expect_normed(r);
  data.reset_outputs();
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    expect_ok(combine(context, groups, data, r));
  });
  for (int r = 0; r < 3; ++r) data.expect_combined(r);
}

TEST(MoeOrder, BesideOtherOperatorsOfTheGroup) {
  constexpr int kRanks = 3;
  for (const std::int64_t window_bytes : {std::int64_t{2} << 20, std::int64_t{16} << 20}) {
    GroupOptions options = quick_options();
    options.window_bytes = window_bytes;
    MoeGroups groups(kRanks, false, options);
    MoeCase large = small(kRanks, 9);
    large.tokens = {200, 1, 60}, large.h = 300;
    MoeData one(small(kRanks)), two(large);
    groups.on_all([&](int r, int) {
      Context context = context_with(1);
      Group& group = groups.experts(r);
      std::vector<float> sum(70'000);
      std::vector<std::uint16_t> x1(8 * 64), x2(64 * 32), output(8 * 32);
      for (int i = 0; i < 20; ++i) {
        MoeData& data = i % 4 == 3 ? two : one;
        const auto others = [&](int which) {
          if (which % 4 == 0) expect_ok(group.barrier());
          if (which % 4 == 1) {
            sum.assign(sum.size(), static_cast<float>(r + 1));
            expect_ok(allreduce(context, group, sum.data(), sum.data(), i % 3 == 0 ? 70'000 : 5,
                                DType::kFloat32));
            EXPECT_EQ(sum[4], 6);
          }
          if (which % 4 == 2) {
            x1.assign(x1.size(), 0x3f80), x2.assign(x2.size(), 0x3f80);  // bfloat16 1
            expect_ok(matmul_allreduce(context, group,
                                       {.x1 = {x1.data(), DType::kBFloat16, {8, 64}},
                                        .x2 = {x2.data(), DType::kBFloat16, {64, 32}},
                                        .output = {output.data(), DType::kBFloat16, {8, 32}}}));
            EXPECT_EQ(output[0], 0x4340);  // 3 · 64
          }
        };
        others(i);
        expect_ok(dispatch(context, groups, data, r));
        others(i + 1);
        expect_ok(combine(context, groups, data, r));
        others(i + 2);
      }
    });
    for (MoeData* data : {&one, &two})
      for (int r = 0; r < kRanks; ++r) data->expect_dispatched(r), data->expect_combined(r);
  }
}

TEST(MoeOrder, TwoGroupsAtOnce) {
  MoeGroups left(2, false), right(3, false);
  MoeData one(small(2)), two(small(3));
  run_threads(5, [&](int i) {
    MoeGroups& groups = i < 2 ? left : right;
    MoeData& data = i < 2 ? one : two;
    const int r = i < 2 ? i : i - 2;
    Context context = context_with(1);
    for (int call = 0; call < 50; ++call) {
      expect_ok(dispatch(context, groups, data, r));
      expect_ok(combine(context, groups, data, r));
    }
  });
  for (int r = 0; r < 2; ++r) one.expect_combined(r);
  for (int r = 0; r < 3; ++r) two.expect_dispatched(r), two.expect_combined(r);
}

/// expand_x of rank 1 with one row less than it gets, and what all ranks say of it.
void expect_too_small(const MoeCase& c, const GroupOptions& options = quick_options()) {
  SCOPED_TRACE(c.text());
  MoeData data(c);
  MoeGroups groups(c.ranks, false, options);
  const std::int64_t rows = data.rows(1);
  ASSERT_GT(rows, 0);
  std::vector<std::string> texts(static_cast<std::size_t>(c.ranks));
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    MoeDispatchArgs args = data.dispatch(r);
    if (r == 1) {
      const TensorRef all = args.expand_x;
      const std::int64_t dims[] = {rows - 1, c.h};
      args.expand_x = TensorRef(all.data(), all.dtype(), dims, all.strides());
    }
    const Status status = moe_dispatch(context, groups.experts(r), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.to_string();
    texts[static_cast<std::size_t>(r)] = status.message();
    data.expect_untouched(r);
  });
  EXPECT_THAT(texts[0],
              AllOf(HasSubstr("moe_dispatch"), HasSubstr("expand_x"), HasSubstr("rank 1"),
                    HasSubstr(std::to_string(rows)), HasSubstr(std::to_string(rows - 1))));
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
  run_and_expect_correct(groups, data);  // nothing has happened to the group
}

TEST(MoeCapacity, TooFewRowsAreTheSameErrorOnAllRanks) {
  expect_too_small(small(3));
  MoeCase c = small(3);
  c.int8_rows = true;
  expect_too_small(c);
  c = small(3);
  c.tokens = {90, 1, 60}, c.h = 300;
  GroupOptions options = quick_options();
  options.window_bytes = 64 << 10;
  expect_too_small(c, options);
  c = small(2);
  c.experts = {.moe_expert_num = 3, .shared_expert_num = 1, .shared_expert_rank_num = 1};
  expect_too_small(c);
}

TEST(MoeCapacity, TheFirstRankThatHasTooFewIsNamed) {
  MoeData data(small(3));
  MoeGroups groups(3, false);
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    MoeDispatchArgs args = data.dispatch(r);
    args.expand_x = TensorRef(args.expand_x.data(), args.expand_x.dtype(), {0, 24});
    const Status status = moe_dispatch(context, groups.experts(r), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("rank 0"));
    data.expect_untouched(r);
  });
  run_and_expect_correct(groups, data);
}

TEST(MoeCapacity, ExactlyEnoughIsEnough) {
  MoeCase c = small(3);
  c.slack = 0;
  run_and_expect_correct(c);
}

TEST(MoeCounts, SaysWhatIsWrongWithIds) {
  MoeCase c = small(2);
  c.tokens = {3, 1};
  c.k = 3;
  c.given_ids = {{0, 0, 0, -1, 4, 1, 2, 3, 2}, {INT32_MAX, INT32_MIN, 3}};
  MoeData data(c);
  MoeGroups groups(2, false);
  run_and_expect_correct(groups, data);
  const std::array<MoeDispatchCounts, 2> want = {{{7, 2, 3}, {1, 2, 0}}};
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    MoeDispatchCounts counts;
    expect_ok(dispatch(context, groups, data, r, 0, &counts));
    EXPECT_EQ(counts.rows_sent, want[static_cast<std::size_t>(r)].rows_sent);
    EXPECT_EQ(counts.out_of_range, want[static_cast<std::size_t>(r)].out_of_range);
    EXPECT_EQ(counts.doubled, want[static_cast<std::size_t>(r)].doubled);
  });
}

TEST(MoeCounts, InactiveEntriesAreNotLookedAt) {
  MoeCase c = small(2);
  c.tokens = {2, 0};
  c.mask = MaskForm::kEntries;
  c.given_ids = {{-5, 1, 99, 1}, {}};
  c.given_masks = {{0, 1, 0, 0}, {}};
  MoeData data(c);
  const MoeDispatchCounts want = data.expected_counts(0);
  EXPECT_EQ(want.rows_sent, 1);
  EXPECT_EQ(want.out_of_range, 0);
  MoeGroups groups(2, false);
  run_and_expect_correct(groups, data);
}

// Special experts get no rows, and are no ids out of range.
TEST(MoeCounts, SpecialExpertsGetNoRows) {
  MoeCase c = small(2);
  c.experts = {
      .moe_expert_num = 2, .zero_expert_num = 1, .copy_expert_num = 1, .const_expert_num = 1};
  c.tokens = {2, 0};
  c.k = 4;
  c.given_ids = {{2, 3, 4, 0, 5, 4, 3, 2}, {}};
  MoeData data(c);
  const MoeDispatchCounts want = data.expected_counts(0);
  EXPECT_EQ(want.rows_sent, 1);
  EXPECT_EQ(want.out_of_range, 1);
  MoeGroups groups(2, false);
  run_and_expect_correct(groups, data);
}

TEST(MoeArguments, NoAssistInfoWhereNoCombineFollows) {
  MoeData data(small(2));
  MoeGroups groups(2, false);
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    MoeDispatchArgs args = data.dispatch(r);
    args.assist_info_for_combine = {};
    expect_ok(moe_dispatch(context, groups.experts(r), args));
    EXPECT_TRUE(data.at(r).assist.unchanged());
  });
  for (int r = 0; r < 2; ++r) data.route_by_reference(r);
  for (int r = 0; r < 2; ++r) data.expect_dispatched(r);
}

// What programs pass as bool may hold any byte.
TEST(MoeArguments, MaskBytesOtherThanOne) {
  MoeCase c = small(2);
  c.mask = MaskForm::kEntries;
  MoeData data(c);
  for (int r = 0; r < 2; ++r) {
    std::vector<double> mask = data.at(r).mask.values();
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] *= static_cast<double>(1 + i % 3 * 100);
    data.at(r).mask.set(mask);
  }
  MoeGroups groups(2, false);
  run_and_expect_correct(groups, data);
}

}  // namespace
}  // namespace weft::testing
