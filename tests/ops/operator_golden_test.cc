// SPDX-License-Identifier: Apache-2.0
// Results small enough to compute by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/float16.h"
#include "operator_case.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

using ::testing::ElementsAre;
using Halves = std::vector<std::uint16_t>;

Halves halves(const std::vector<double>& values) {
  Halves bits;
  for (double value : values) bits.push_back(f64_to_fp16(value));
  return bits;
}

std::vector<double> values_of(const Halves& bits) {
  std::vector<double> values;
  for (std::uint16_t half : bits) values.push_back(fp16_to_f32(half));
  return values;
}

/// One row on every rank, float16.
struct GoldenRank {
  std::vector<double> x1, x2, bias, residual, gamma;
  Halves y = {}, norm_out = {};
};

void run_golden(std::vector<GoldenRank>& all, double epsilon = 1e-6) {
  std::vector<Group> groups =
      make_groups("loopback", static_cast<int>(all.size()), operator_group_options());
  on_all(groups, [&](Group& group) {
    GoldenRank& g = all[static_cast<std::size_t>(group.rank())];
    const auto k = static_cast<std::int64_t>(g.x1.size());
    const auto n = static_cast<std::int64_t>(g.gamma.size());
    const Halves x1 = halves(g.x1), x2 = halves(g.x2), bias = halves(g.bias);
    const Halves residual = halves(g.residual), gamma = halves(g.gamma);
    g.y.resize(g.gamma.size()), g.norm_out.resize(g.gamma.size());
    constexpr DType kF16 = DType::kFloat16;
    MatmulAllReduceAddRmsNormArgs args;
    args.x1 = {x1.data(), kF16, {1, k}};
    args.x2 = {x2.data(), kF16, {k, n}};
    if (!bias.empty()) args.bias = {bias.data(), kF16, {n}};
    args.residual = {residual.data(), kF16, {1, 1, n}};
    args.gamma = {gamma.data(), kF16, {n}};
    args.epsilon = epsilon;
    args.y = {g.y.data(), kF16, {1, 1, n}};
    args.norm_out = {g.norm_out.data(), kF16, {1, 1, n}};
    Context context = Context::create({.threads = 1}).value();
    const Status status = matmul_allreduce_add_rmsnorm(context, group, args);
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
}

const std::vector<double> kResidual = {.5, .25, -1, .1}, kGamma = {1, .5, 2, 1.5};

void expect_example(const GoldenRank& rank) {
  EXPECT_THAT(values_of(rank.y), ElementsAre(1.5, 2.25, 2.0, 4.1015625));
  EXPECT_EQ(rank.norm_out, halves({0.5654297, 0.4240723, 1.5078125, 2.3203125}));
}

TEST(OperatorGolden, SumOfOneRank) {
  std::vector<GoldenRank> all = {{{1}, {1, 2, 3, 4}, {}, kResidual, kGamma}};
  run_golden(all);
  expect_example(all[0]);
}

TEST(OperatorGolden, SumOfTwoRanks) {
  std::vector<GoldenRank> all = {{{2, 1}, {0, 1, 1, 0.5, .5, -1, 0, 2}, {}, kResidual, kGamma},
                                 {{-1}, {-.5, -1, -1, -1}, {}, kResidual, kGamma}};
  run_golden(all);
  expect_example(all[0]);
  expect_example(all[1]);
}

TEST(OperatorGolden, BiasIsAddedOnEveryRank) {
  std::vector<GoldenRank> all;
  for (int rank = 0; rank < 4; ++rank)
    all.push_back({{0}, {9, 9, 9, 9}, {.25, .5, .75, 1}, kResidual, kGamma});
  run_golden(all);
  for (const GoldenRank& rank : all) expect_example(rank);
}

TEST(OperatorGolden, ResidualAndGammaAreThisRanksOwnAndAddedOnce) {
  std::vector<GoldenRank> all = {{{1}, {1, 1}, {}, {0, 2}, {1, 1}},
                                 {{1}, {2, 1}, {}, {1, 2}, {1, 2}},
                                 {{1}, {0, 0}, {}, {-3, -2}, {4, 4}}};
  run_golden(all);
  EXPECT_THAT(values_of(all[0].y), ElementsAre(3, 4));
  EXPECT_THAT(values_of(all[1].y), ElementsAre(4, 4));
  EXPECT_THAT(values_of(all[2].y), ElementsAre(0, 0));
  EXPECT_THAT(values_of(all[1].norm_out), ElementsAre(1, 2));  // 4 / sqrt(16), times gamma
  EXPECT_THAT(values_of(all[2].norm_out), ElementsAre(0, 0));  // epsilon keeps 0 / 0 away
}

// In float16 the numbers beside 2048 are 2 apart, and ties go to the even mantissa.
TEST(OperatorGolden, PartialsAreRoundedBeforeTheSumAndTheSumOnlyOnce) {
  // Rank 0's 2049 becomes 2048; then 2048 + 1 + 1 in fp32 is 2050. Rounding between the ranks
  // would leave 2048, and an unrounded 2049 would give 2052.
  std::vector<GoldenRank> all = {{{1, 1}, {2048, 0, 1, 0}, {}, {0, 0}, {1, 1}},
                                 {{1}, {1, 0}, {}, {0, 0}, {1, 1}},
                                 {{1}, {1, 0}, {}, {0, 0}, {1, 1}}};
  run_golden(all);
  for (const GoldenRank& rank : all) EXPECT_THAT(values_of(rank.y), ElementsAre(2050, 0));
}

TEST(OperatorGolden, TheSumIsRoundedBeforeTheResidualIsAdded) {
  // 2048 + 1 is 2048 in float16, and so is 2048 + 1 again; in one sum it would be 2050.
  std::vector<GoldenRank> all = {{{1}, {2048, 0}, {}, {1, 0}, {1, 1}},
                                 {{1}, {1, 0}, {}, {1, 0}, {1, 1}}};
  run_golden(all);
  for (const GoldenRank& rank : all) EXPECT_THAT(values_of(rank.y), ElementsAre(2048, 0));
}

TEST(OperatorGolden, InfinityAndNanPassThroughTheirColumnAlone) {
  const double inf = HUGE_VAL;
  std::vector<GoldenRank> all = {{{1}, {inf, 1, 60000, 1}, {}, {0, 0, 0, 0}, {1, 1, 1, 1}},
                                 {{1}, {-inf, 1, 60000, 2}, {}, {0, 0, 0, 0}, {1, 1, 1, 1}}};
  run_golden(all);
  const std::vector<double> y = values_of(all[1].y);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], 2);
  EXPECT_EQ(y[2], inf);  // 120000 is beyond float16
  EXPECT_EQ(y[3], 3);
  EXPECT_EQ(all[0].y, all[1].y);
}

}  // namespace
}  // namespace weft::testing
