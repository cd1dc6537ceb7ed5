// SPDX-License-Identifier: Apache-2.0
// Dispatch, combine and combine + add + RMSNorm against their references: numbers of ranks, forms
// of the arguments, sizes of the windows, and the bits of ranks that are threads or processes.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/xxhash64.h"
#include "moe_calls.h"
#include "processes.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr DType kF16 = DType::kFloat16;

struct Form {
  const char* name;
  MoeCase fields;  ///< without ranks
};

/// E = 2 for each rank without a shared expert, and an odd number of columns.
MoeCase plain() { return {.tokens = {5, 0, 9, 1}, .h = 37, .k = 3}; }

std::vector<Form> forms() {
  std::vector<Form> all;
  const auto add = [&](const char* name, auto change) {
    all.push_back({name, plain()});
    change(all.back().fields);
  };
  add("Plain", [](MoeCase&) {});
  add("Float16", [](MoeCase& c) { c.type = kF16; });
  add("Int8Rows", [](MoeCase& c) { c.int8_rows = true; });
  add("Int8RowsScales", [](MoeCase& c) { c.type = kF16, c.int8_rows = c.scales = true; });
  add("Int8Communication", [](MoeCase& c) { c.int8_communication = true; });
  add("Int8CommunicationFloat16", [](MoeCase& c) { c.type = kF16, c.int8_communication = true; });
  add("MaskOfTokens", [](MoeCase& c) { c.mask = MaskForm::kTokens; });
  add("MaskOfEntries", [](MoeCase& c) { c.mask = MaskForm::kEntries, c.strided = true; });
  add("Ends", [](MoeCase& c) { c.tokens_are_ends = c.three_axes = true; });
  add("SharedExpertX", [](MoeCase& c) { c.shared_expert_x = c.strided = true; });
  add("Special", [](MoeCase& c) {
    c.experts.zero_expert_num = 2, c.experts.copy_expert_num = 1, c.experts.const_expert_num = 2;
    c.k = 4;
  });
  add("SpecialPerColumn", [](MoeCase& c) {
    c.experts.copy_expert_num = c.experts.const_expert_num = 2;
    c.alpha_per_column = c.strided = true, c.mask = MaskForm::kEntries;
  });
  add("OddExperts", [](MoeCase& c) { c.experts.moe_expert_num = -1; });
  add("OneExpert", [](MoeCase& c) { c.ids = Ids::kOneExpert, c.k = 1; });
  add("OneColumn", [](MoeCase& c) { c.h = 1, c.in_place = true; });
  add("NoTokens", [](MoeCase& c) { c.tokens = {0}; });
  add("AnyIds", [](MoeCase& c) { c.ids = Ids::kAnything, c.int8_rows = true; });
  add("SpecialValues", [](MoeCase& c) { c.special_values = .02, c.type = kF16; });
  add("SpecialValuesInt8", [](MoeCase& c) {
    c.special_values = .02;
    c.int8_rows = c.scales = c.int8_communication = true;
  });
  return all;
}

/// `shared` of `on` ranks, the others have two experts each, or an odd number in all.
MoeCase with_ranks(MoeCase c, int ranks, std::int64_t shared = 0, std::int64_t on = 0) {
  c.ranks = ranks;
  c.experts.shared_expert_num = shared, c.experts.shared_expert_rank_num = on;
  const std::int64_t hosts = ranks - on;
  c.experts.moe_expert_num = c.experts.moe_expert_num < 0 ? 2 * hosts - 1 : 2 * hosts;
  const MoeExperts& e = c.experts;
  c.k =
      std::min(c.k, e.moe_expert_num + e.zero_expert_num + e.copy_expert_num + e.const_expert_num);
  return c;
}

class MoeRanks : public ::testing::TestWithParam<int> {};

TEST_P(MoeRanks, Forms) {
  MoeGroups groups(GetParam(), false);
  for (const Form& form : forms()) {
    MoeData data(with_ranks(form.fields, GetParam()));
    SCOPED_TRACE(form.name);
    run_and_expect_correct(groups, data);
  }
}

TEST_P(MoeRanks, SharedExperts) {
  MoeGroups groups(GetParam(), false);
  for (const auto& [shared, on] : {std::pair{1, 1}, {1, 2}, {2, 2}, {1, 3}, {2, 4}, {3, 3}}) {
    if (on >= GetParam()) continue;
    for (const SharedTokens tokens : {SharedTokens::kBySource, SharedTokens::kBySlice}) {
      if (tokens == SharedTokens::kBySlice && shared > 1) continue;
      MoeCase c = with_ranks(plain(), GetParam(), shared, on);
      c.experts.shared_tokens = tokens;
      c.int8_rows = c.scales = on % 2 == 1;
      c.mask = static_cast<MaskForm>((shared + on) % 3);
      MoeData data(c);
      run_and_expect_correct(groups, data);
    }
  }
}

TEST_P(MoeRanks, Pairs) {
  MoeGroups groups(GetParam(), true);
  for (const std::int64_t shared : {0, 1}) {
    if (shared >= GetParam()) continue;
    for (const bool int8_rows : {false, true}) {
      MoeCase c = with_ranks(plain(), GetParam(), shared, shared);
      c.experts.moe_expert_num = GetParam() - shared;
      c.k = std::min(c.k, c.experts.moe_expert_num);
      c.tp = true;
      c.int8_rows = c.scales = int8_rows;
      c.type = int8_rows ? kF16 : DType::kBFloat16;
      MoeData data(c);
      run_and_expect_correct(groups, data);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, MoeRanks, ::testing::Values(1, 2, 3, 5, 8, 16),
                         [](const auto& test) { return fmt::format("ranks{}", test.param); });

TEST(MoeShapes, RanksWithoutExperts) {  // fewer experts than ranks
  for (const std::int64_t experts : {1, 2, 4}) {
    MoeCase c = with_ranks(plain(), 5);
    c.experts.moe_expert_num = experts;
    c.k = std::min<std::int64_t>(c.k, experts);
    run_and_expect_correct(c);
  }
}

TEST(MoeShapes, UnequalTokens) {
  MoeCase c = with_ranks({.tokens = {1, 3, 200}, .h = 1027, .k = 4}, 3);
  c.shared_expert_x = true;
  run_and_expect_correct(c);
}

TEST(MoeShapes, MoreThreadsPerRank) {
  for (const int threads : {2, 3}) {
    MoeCase c = with_ranks({.int8_rows = true, .tokens = {40, 3}, .h = 520, .k = 4}, 2);
    run_and_expect_correct(c, threads);
    run_and_expect_correct(with_ranks({.tokens = {40, 3}, .h = 520, .k = 4}, 2), threads);
  }
}

TEST(MoeShapes, NoSlots) {  // K = 0: shared experts alone
  MoeCase c = with_ranks(plain(), 3, 1, 1);
  c.k = 0;
  run_and_expect_correct(c);
}

class MoeWindows : public ::testing::TestWithParam<std::int64_t> {};

// From windows in which a few rows fit to those of the default size.
TEST_P(MoeWindows, Sizes) {
  GroupOptions options = quick_options();
  options.window_bytes = GetParam();
  MoeCase c = with_ranks({.tokens = {70, 5, 130}, .h = 1031, .k = 4}, 3);
  run_and_expect_correct(c, 1, options);
  c.int8_rows = c.int8_communication = true;
  run_and_expect_correct(c, 2, options);
  c = with_ranks({.tokens = {60}, .h = 500, .k = 1, .ids = Ids::kOneExpert}, 5);
  run_and_expect_correct(c, 1, options);
  c = with_ranks({.tp = true, .tokens = {60, 1, 9, 33}, .h = 500, .k = 2}, 2);
  c.experts.moe_expert_num = 2;
  run_and_expect_correct(c, 1, options);
}

INSTANTIATE_TEST_SUITE_P(All, MoeWindows, ::testing::Values(64 << 10, 200 << 10, 2 << 20, 0),
                         [](const auto& test) { return fmt::format("bytes{}", test.param); });

// The rows of one token travel together.
TEST(MoeWindow, TooSmallForTheRowsOfAToken) {
  GroupOptions options = quick_options();
  options.window_bytes = 64 << 10;
  MoeGroups groups(1, false, options);
  const MoeData data(with_ranks({.tokens = {3}, .h = 100'000, .k = 2}, 1));
  Context context = context_with(1);
  for (const Status& status : {dispatch(context, groups, data, 0),
                               combine(context, groups, data, 0), norm(context, groups, data, 0)}) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(),
                AllOf(StartsWith("moe_"), HasSubstr("65536"), HasSubstr("HCCL_BUFFSIZE")));
  }
  data.expect_untouched(0);
}

/// What a rank's calls leave, as one number.
std::uint64_t digest(const MoeRank& rank) {
  std::vector<double> all;
  for (const GuardedTensor* t : {&rank.expand_x, &rank.dynamic_scales, &rank.assist,
                                 &rank.ep_counts, &rank.combined, &rank.y, &rank.rstd}) {
    if (!t->given()) continue;
    const std::vector<double> values = t->values();
    all.insert(all.end(), values.begin(), values.end());
  }
  return xxhash64(std::as_bytes(std::span(all)));
}

std::vector<MoeCase> cases_for_bits() {
  std::vector<MoeCase> all;
  for (const Form& form : forms()) all.push_back(with_ranks(form.fields, 3));
  all.push_back(with_ranks(plain(), 3, 1, 2));
  for (MoeCase& c : all) c.slack = 0;
  return all;
}

// Also the test of ranks that are processes: each looks at what it got.
TEST(MoeBits, ThreadsAndProcessesAgree) {
  const auto outcomes = run_ranks(3, [](Rank& rank) {
    Group group = Group::join(rank.id, rank.rank, rank.ranks, quick_options()).value();
    Context context = context_with(1 + rank.rank % 2);
    std::string digests;
    for (const MoeCase& c : cases_for_bits()) {
      MoeData data(c);
      expect_ok(moe_dispatch(context, group, data.dispatch(rank.rank)));
      data.expect_dispatched(rank.rank);
      for (int other = 0; other < rank.ranks; ++other)
        if (other != rank.rank) data.route_by_reference(other);
      expect_ok(moe_combine(context, group, data.combine(rank.rank)));
      data.expect_combined(rank.rank);
      data.reset_outputs();
      expect_ok(moe_combine_add_rmsnorm(context, group, data.norm(rank.rank)));
      data.expect_normed(rank.rank);
      digests += fmt::format("{:x} ", digest(data.at(rank.rank)));
    }
    return digests;
  });
  for (const int threads : {1, 3}) {
    std::vector<std::string> digests(3);
    MoeGroups groups(3, false);
    for (const MoeCase& c : cases_for_bits()) {
      MoeData data(c);
      run_and_expect_correct(groups, data, threads);
      for (int r = 0; r < 3; ++r)
        digests[static_cast<std::size_t>(r)] += fmt::format("{:x} ", digest(data.at(r)));
    }
    for (std::size_t r = 0; r < 3; ++r) EXPECT_EQ(digests[r], outcomes[r].text) << "rank " << r;
  }
}

TEST(MoeProcesses, NumbersOfRanks) {
  for (const int ranks : {1, 2, 5, 8, 16})
    run_ranks(ranks, [](Rank& rank) {
      Group group = Group::join(rank.id, rank.rank, rank.ranks, quick_options()).value();
      Context context = context_with(1);
      MoeCase c = with_ranks(plain(), rank.ranks, rank.ranks > 4, rank.ranks > 4 ? 2 : 0);
      MoeData data(c);
      expect_ok(moe_dispatch(context, group, data.dispatch(rank.rank)));
      data.expect_dispatched(rank.rank);
      for (int other = 0; other < rank.ranks; ++other)
        if (other != rank.rank) data.route_by_reference(other);
      expect_ok(moe_combine(context, group, data.combine(rank.rank)));
      data.expect_combined(rank.rank);
      return std::string();
    });
}

}  // namespace
}  // namespace weft::testing
