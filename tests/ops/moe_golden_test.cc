// SPDX-License-Identifier: Apache-2.0
// Worked examples whose every number is written down: of the operators and of their references.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "moe_calls.h"
#include "ops/moe_combine/reference.h"
#include "ops/moe_combine_add_rmsnorm/reference.h"
#include "ops/moe_dispatch/reference.h"
#include "ops/moe_reference.h"

namespace weft::testing {
namespace {

using Numbers = std::vector<double>;
constexpr double kUntouched = NAN;  // what the canary is in bfloat16

/// Every row one number at even columns and one at odd ones.
void set_rows(GuardedTensor& t, const Numbers& even, const Numbers& odd) {
  const std::int64_t h = t.view().dim(t.view().rank() - 1);
  Numbers values;
  for (std::int64_t i = 0; i < t.view().elements(); ++i) {
    const auto row = static_cast<std::size_t>(i / h);
    const Numbers& from = i % h % 2 ? odd : even;
    values.push_back(row < from.size() ? from[row] : NAN);
  }
  t.set(values);
}
void set_rows(GuardedTensor& t, const Numbers& rows) { set_rows(t, rows, rows); }

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void expect_rows(const GuardedTensor& t, const Numbers& even, const Numbers& odd) {
  const Numbers values = t.values();
  const std::int64_t h = t.view().dim(t.view().rank() - 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(h);
    const Numbers& from = i % static_cast<std::size_t>(h) % 2 ? odd : even;
    const double want = row < from.size() ? from[row] : kUntouched;
    ASSERT_TRUE(same(values[i], want)) << values[i] << " is not " << want << " in row " << row;
  }
}
void expect_rows(const GuardedTensor& t, const Numbers& rows) { expect_rows(t, rows, rows); }

/// The first integers; the canary is behind them.
void expect_integers(const GuardedTensor& t, const Dims& want) {
  for (std::int64_t i = 0; i < t.view().dim(0); ++i) {
    const std::int64_t got = ops::moe_reference::integer_at(t.view(), i);
    EXPECT_EQ(got, i < std::ssize(want) ? want[static_cast<std::size_t>(i)] : -1) << i;
  }
}

struct Dispatched {
  Numbers rows;
  Dims triples, counts, nums;
};

MoeCase example() {
  return {.ranks = 2,
          .tokens = {3},
          .h = 1024,
          .k = 2,
          .experts = {.moe_expert_num = 4},
          .given_ids = {{0, 2, 3, 0, 1, 2}, {2, 1, 0, 2, 3, 2}},
          .slack = 5};
}
/// x and expert_scales.
void set_tokens(MoeData& data) {
  set_rows(data.at(0).x, {1, 2, 3});
  set_rows(data.at(1).x, {4, 5, 6});
  data.at(0).expert_scales.set({.5, .25, 1, .5, .25, .75});
  data.at(1).expert_scales.set({.5, .5, .75, .25, 1, .125});
}
Dispatched on_rank_0() {
  return {{1, 2, 5, 3, 4}, {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 2, 0, 1, 0, 1}, {2, 3, 4, 5}, {3, 2}};
}
Dispatched on_rank_1() {
  return {{1, 3, 4, 5, 6, 2, 6},
          {0, 0, 1, 0, 2, 1, 1, 0, 0, 1, 1, 1, 1, 2, 1, 0, 1, 0, 1, 2, 0},
          {2, 5, 6, 7},
          {5, 2}};
}

void expect_dispatched(const MoeRank& rank, const Dispatched& want) {
  expect_rows(rank.expand_x, want.rows);
  expect_integers(rank.assist, want.triples);
  expect_integers(rank.ep_counts, want.counts);
  expect_integers(rank.token_nums, want.nums);
}

void call_dispatch(MoeGroups& groups, const MoeData& data) {
  groups.on_all([&](int r, int q) {
    Context context = context_with(1);
    expect_ok(dispatch(context, groups, data, r, q));
    data.expect_dispatched(r, q);
  });
}
void call_combine(MoeGroups& groups, const MoeData& data) {
  groups.on_all([&](int r, int q) {
    Context context = context_with(1);
    expect_ok(combine(context, groups, data, r, q));
  });
  groups.on_all([&](int r, int q) { data.expect_combined(r, q); });
}
void call_norm(MoeGroups& groups, const MoeData& data) {
  groups.on_all([&](int r, int q) {
    Context context = context_with(1);
    expect_ok(norm(context, groups, data, r, q));
  });
  groups.on_all([&](int r, int q) { data.expect_normed(r, q); });
}

/// Expert e gives (e + 1) · row.
void set_returned(MoeData& data) {
  set_rows(data.at(0).returned, {1, 2, 5, 6, 8});
  set_rows(data.at(1).returned, {3, 9, 12, 15, 18, 8, 24});
}

TEST(MoeGolden, DispatchAndCombine) {
  for (const bool ends : {false, true}) {
    MoeCase c = example();
    c.tokens_are_ends = ends;
    MoeData data(c);
    MoeGroups groups(2, false);
    set_tokens(data);
    call_dispatch(groups, data);
    Dispatched zero = on_rank_0(), one = on_rank_1();
    if (ends) zero.nums = {3, 5}, one.nums = {5, 7};
    expect_dispatched(data.at(0), zero);
    expect_dispatched(data.at(1), one);
    set_returned(data);
    call_combine(groups, data);
    expect_rows(data.at(0).combined, {1.25, 9, 8.25});
    expect_rows(data.at(1).combined, {10, 7.5, 26.25});
  }
}

TEST(MoeGolden, SharedExpertXHasNoWeight) {
  MoeCase c = example();
  c.shared_expert_x = true;
  MoeData data(c);
  MoeGroups groups(2, false);
  set_tokens(data);
  call_dispatch(groups, data);
  set_returned(data);
  set_rows(data.at(0).shared_x, {.5, 0, 0});
  set_rows(data.at(1).shared_x, {0, 0, 0});
  call_combine(groups, data);
  expect_rows(data.at(0).combined, {1.75, 9, 8.25});
  expect_rows(data.at(1).combined, {10, 7.5, 26.25});
}

TEST(MoeGolden, AddRmsNorm) {
  MoeData data(example());
  MoeGroups groups(2, false);
  set_tokens(data);
  call_dispatch(groups, data);
  set_returned(data);
  set_rows(data.at(0).residual, {1.75, -12, -.25}, {2.75, -6, -.25});
  set_rows(data.at(1).residual, {-10, 0.015625, .25}, {-10, 0, -.25});
  for (int r = 0; r < 2; ++r) {
    Numbers gamma;
    for (int h = 0; h < 1024; ++h) gamma.push_back(h % 2 ? .75 : 1);
    data.at(r).gamma.set(gamma);
  }
  call_norm(groups, data);
  expect_rows(data.at(0).combined, {3, -3, 8}, {4, 3, 8});
  expect_rows(data.at(1).combined, {0, 7.5, 26.5}, {0, 7.5, 26});
  expect_rows(data.at(0).y, {0.84765625, -1, 1}, {0.8515625, .75, .75});
  expect_rows(data.at(1).y, {0, 1, 1.0078125}, {0, .75, 0.7421875});
  const Numbers want[] = {{0.28284270, 0.33333331, 0.125}, {999.99994, 0.13319451, 0.03809351}};
  for (int r = 0; r < 2; ++r)
    for (std::size_t t = 0; t < 3; ++t)
      EXPECT_NEAR(data.at(r).rstd.values()[t] / want[r][t], 1, 2e-6);
}

TEST(MoeGolden, MaskOfEntries) {
  MoeCase c = example();
  c.mask = MaskForm::kEntries;
  c.given_masks = {{1, 1, 1, 0, 0, 0}, {1, 1, 1, 1, 1, 1}};
  MoeData data(c);
  MoeGroups groups(2, false);
  set_tokens(data);
  call_dispatch(groups, data);
  expect_dispatched(data.at(0), {{1, 5, 4}, {0, 0, 0, 1, 1, 0, 1, 0, 1}, {1, 2, 2, 3}, {2, 1}});
  expect_dispatched(data.at(1), {{1, 4, 5, 6, 2, 6},
                                 {0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 2, 1, 0, 1, 0, 1, 2, 0},
                                 {1, 4, 5, 6},
                                 {4, 2}});
  set_rows(data.at(0).returned, {1, 5, 8});
  set_rows(data.at(1).returned, {3, 12, 15, 18, 8, 24});
  call_combine(groups, data);
  expect_rows(data.at(0).combined, {1.25, 8, kUntouched});
  expect_rows(data.at(1).combined, {10, 7.5, 26.25});
}

TEST(MoeGolden, MaskOfTokensIsACount) {
  for (const Dims& mask : {Dims{1, 1, 0}, Dims{1, 0, 1}, Dims{0, 1, 1}}) {
    MoeCase c = example();
    c.mask = MaskForm::kTokens;
    c.given_masks = {mask, {1, 1, 1}};
    MoeData data(c);
    MoeGroups groups(2, false);
    set_tokens(data);
    call_dispatch(groups, data);
    expect_dispatched(data.at(0),
                      {{1, 2, 5, 4}, {0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1}, {2, 3, 3, 4}, {3, 1}});
    expect_dispatched(data.at(1), {{1, 4, 5, 6, 2, 6},
                                   {0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 2, 1, 0, 1, 0, 1, 2, 0},
                                   {1, 4, 5, 6},
                                   {4, 2}});
    set_rows(data.at(0).returned, {1, 2, 5, 8});
    set_rows(data.at(1).returned, {3, 12, 15, 18, 8, 24});
    call_combine(groups, data);
    expect_rows(data.at(0).combined, {1.25, 9, kUntouched});
    expect_rows(data.at(1).combined, {10, 7.5, 26.25});
  }
}

TEST(MoeGolden, Quantisation) {
  struct Row {
    Numbers x, scales, q;
    float scale;
  };
  const Row rows[] = {{{1, -0.30078125}, {}, {127, -38}, 0.00787401572f},
                      {{3, .5, -2}, {}, {127, 21, -85}, 0.0236220472f},
                      {{3, .5, -2}, {1, 2, .5}, {127, 42, -42}, 0.0236220472f},
                      {{127, 2.5, 3.5, -.5, -1.5}, {}, {127, 2, 4, 0, -2}, 1},
                      {{5.5, 0}, {}, {127, 0}, 0.0433070846f},  // not 5.5 / 127
                      {{0, -0.0}, {}, {0, 0}, 0},
                      {{1e-38, -1e-38}, {}, {0, 0}, 0}};
  for (const Row& row : rows) {
    const auto h = static_cast<std::int64_t>(row.x.size()) * 50;
    MoeData data({.ranks = 1,
                  .int8_rows = true,
                  .scales = !row.scales.empty(),
                  .tokens = {1},
                  .h = h,
                  .k = 1,
                  .experts = {.moe_expert_num = 1}});
    const auto repeat = [&](GuardedTensor& t, const Numbers& pattern) {
      Numbers values;
      for (std::size_t i = 0; i < static_cast<std::size_t>(h); ++i)
        values.push_back(pattern[i % pattern.size()]);
      t.set(values);
    };
    repeat(data.at(0).x, row.x);
    if (!row.scales.empty()) repeat(data.at(0).scales, row.scales);
    MoeGroups groups(1, false);
    call_dispatch(groups, data);
    const Numbers got = data.at(0).expand_x.values();
    for (std::size_t i = 0; i < static_cast<std::size_t>(h); ++i)
      ASSERT_EQ(got[i], row.q[i % row.q.size()]) << i;
    EXPECT_EQ(static_cast<float>(data.at(0).dynamic_scales.values()[0]), row.scale);
  }
}

TEST(MoeGolden, Pairs) {
  MoeData data({.ranks = 2,
                .tp = true,
                .tokens = {2},
                .h = 1024,
                .k = 1,
                .experts = {.moe_expert_num = 2},
                .given_ids = {{0, 1}, {0, 0}, {1, 1}, {0, 1}},
                .slack = 4});
  MoeGroups groups(2, true);
  set_rows(data.at(0, 0).x, {1, 2});
  set_rows(data.at(1, 0).x, {3, 4});
  set_rows(data.at(0, 1).x, {5, 6});
  set_rows(data.at(1, 1).x, {7, 8});
  call_dispatch(groups, data);
  expect_dispatched(data.at(0, 0), {{1, 3, 4, 7}, {0, 0, 0, 1, 0, 0, 1, 1, 0}, {1, 3, 0, 1}, {4}});
  expect_dispatched(data.at(0, 1), {{7, 1, 3, 4}, {1, 0, 0}, {0, 1, 1, 3}, {4}});
  expect_dispatched(data.at(1, 0), {{2, 5, 6, 8}, {0, 1, 0}, {1, 1, 2, 3}, {4}});
  expect_dispatched(data.at(1, 1), {{5, 6, 8, 2}, {0, 0, 0, 0, 1, 0, 1, 1, 0}, {2, 3, 1, 1}, {4}});
  for (int q = 0; q < 2; ++q) {
    expect_integers(data.at(0, q).tp_counts, {3, 1});
    expect_integers(data.at(1, q).tp_counts, {1, 3});
  }
  const auto shard = [&](int r, int q, const Numbers& rows) {
    Numbers parts;
    for (const double row : rows) parts.push_back((q == 0 ? .25 : .75) * row);
    set_rows(data.at(r, q).returned, parts);
    data.at(r, q).expert_scales.set({2, 2});
  };
  shard(0, 0, {1, 3, 4, 7});
  shard(0, 1, {7, 1, 3, 4});
  shard(1, 0, {2, 5, 6, 8});
  shard(1, 1, {5, 6, 8, 2});
  call_combine(groups, data);
  expect_rows(data.at(0, 0).combined, {2, 4});
  expect_rows(data.at(1, 0).combined, {6, 8});
  expect_rows(data.at(0, 1).combined, {10, 12});
  expect_rows(data.at(1, 1).combined, {14, 16});
}

}  // namespace
}  // namespace weft::testing
