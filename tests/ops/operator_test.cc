// SPDX-License-Identifier: Apache-2.0
// The operators against their references: every dtype row, rank count and awkward shape, with ranks
// as threads and as processes.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "operator_call.h"
#include "processes.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

constexpr const char* kRowNames[] = {
    "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9",  // matmul_allreduce_add_rmsnorm
    "N1", "N2", "Q1", "Q2", "Q3", "Q4", "Q5", "W1", "W2", "W3", "W4",  // matmul_allreduce
    "R1", "R2", "R3", "R4", "R5"};                                     // matmul_reduce_scatter

// m = 1, m below and beside the rank counts, n = 1, odd, beside 16 and 32, k = 0, 1, odd, uneven
// over ranks, longer than a block, 3-D; the last is large enough for the ring with two ranks.
constexpr const char* kShapes[] = {
    "1x64:64x32",   "3x17:17x1",      "5x1:1x33",     "2x3x100,70,34:100,70,34x64",
    "520x8:8x512",  "13x40:40x100",   "1x1:1x1",      "7x33,1,64:33,1,64x31",
    "33x66:66x129", "1x2500:2500x16", "70x20:20x48",  "2x130,200:130,200x257",
    "3x1x50:50x40", "17x64:64x64",    "4x5x96:96x47", "9x0,40:0,40x18",
};
constexpr const char* kIsas[] = {"", "scalar", "avx2", "avx512", "avx512vnni", "avx512bf16"};

// Of the reference, for one case: every row of most shapes, some rows on every rank of the rest.
constexpr double kMultiplies = 3e5;

/// Half of the cases with everything the machine has, the rest spread over the lower caps. A cap
/// the machine lacks falls back to no cap: kernel tests say what was skipped.
Context context_for(std::uint64_t seed, int threads) {
  const std::size_t pick = seed % (2 * std::size(kIsas));
  ContextOptions options;
  options.threads = threads;
  options.isa = pick < std::size(kIsas) ? kIsas[pick] : "";
  auto context = Context::create(options);
  if (!context.ok()) {
    options.isa = "";
    context = Context::create(options);
  }
  return std::move(context).value();
}

std::size_t index_of(const std::string& row) {
  return static_cast<std::size_t>(std::ranges::find(kRowNames, row) - std::begin(kRowNames));
}

class OperatorTest : public ::testing::TestWithParam<std::tuple<int, const char*>> {};

// Two thirds of the shapes for each row and rank count, all of them over the rank counts.
TEST_P(OperatorTest, ThreadsMatchTheReference) {
  const auto& [ranks, row] = GetParam();
  std::vector<Group> groups = make_groups("loopback", ranks, operator_group_options());
  const std::size_t first = index_of(row) + static_cast<std::size_t>(ranks);
  std::uint64_t seed = static_cast<std::uint64_t>(ranks) * 1000 + index_of(row) * 16;
  for (std::size_t i = 0; i < std::size(kShapes); ++i) {
    if ((i + first) % 3 == 0) continue;
    const OperatorCase c = random_case(row, kShapes[i], ranks, ++seed);
    SCOPED_TRACE(c.text(ranks));
    const Ranks data = make_ranks(c, ranks);
    on_all(groups, [&](Group& group) {
      Context context = context_for(seed, seed % 5 == 0 ? 2 : 1);
      const Status status = call(context, group, c, *data[static_cast<std::size_t>(group.rank())]);
      EXPECT_TRUE(status.ok()) << status.to_string();
    });
    for (int rank = 0; rank < ranks; ++rank) expect_correct(c, data, rank, kMultiplies / ranks);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Operator, OperatorTest,
                         ::testing::Combine(::testing::Values(1, 2, 3, 8),
                                            ::testing::ValuesIn(kRowNames)),
                         [](const auto& test) {
                           return "ranks" + std::to_string(std::get<0>(test.param)) + "_" +
                                  std::get<1>(test.param);
                         });

class OperatorProcessTest : public ::testing::TestWithParam<int> {};

TEST_P(OperatorProcessTest, ProcessesMatchTheReference) {
  run_ranks(GetParam(), [](Rank& rank) {
    auto group = Group::join(rank.id, rank.rank, rank.ranks, operator_group_options());
    if (!group.ok()) return "join: " + group.status().to_string();
    auto context = Context::create({.threads = 1});
    std::uint64_t seed = static_cast<std::uint64_t>(rank.ranks) * 500;
    for (const char* row : kRowNames) {
      for (int i = 0; i < 2; ++i) {
        const OperatorCase c =
            random_case(row, kShapes[seed % std::size(kShapes)], rank.ranks, seed);
        ++seed;
        SCOPED_TRACE(c.text(rank.ranks));
        const Ranks data = make_ranks(c, rank.ranks);  // others' too, for the reference
        const Status status = call(*context, *group, c, *data[static_cast<std::size_t>(rank.rank)]);
        EXPECT_TRUE(status.ok()) << status.to_string();
        expect_correct(c, data, rank.rank, kMultiplies / rank.ranks);
        if (::testing::Test::HasFailure()) return std::string("failed");
      }
    }
    return std::string("ok");
  });
}

INSTANTIATE_TEST_SUITE_P(Operator, OperatorProcessTest, ::testing::Values(1, 2, 3, 8),
                         [](const auto& test) { return "ranks" + std::to_string(test.param); });

}  // namespace
}  // namespace weft::testing
