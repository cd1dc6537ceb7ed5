// SPDX-License-Identifier: Apache-2.0
// matmul_allreduce_add_rmsnorm, computed by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "golden.h"

namespace weft::testing {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;
using enum OperandId;

/// One row of four columns; the example of the definition is its result.
Golden example(std::string_view shape, int ranks, tools::OperandSet with = {}) {
  Golden golden("A1", shape, ranks, with);
  golden.set(kResidual, {.5, .25, -1, .1}).set(kGamma, {1, .5, 2, 1.5});
  return golden;
}

void expect_example(Golden& golden, int rank) {
  EXPECT_THAT(golden.output(rank), ElementsAre(1.5, 2.25, 2.0, 4.1015625));
  EXPECT_THAT(golden.output(rank, 1),
              Pointwise(DoubleNear(5e-8), Values{0.5654297, 0.4240723, 1.5078125, 2.3203125}));
}

/// A row of two columns in which rank r holds the sum `x2[r]`; gamma is 1.
Golden sums(const std::vector<Values>& x2, const std::vector<Values>& residual) {
  const std::string columns = std::to_string(x2[0].size());
  Golden golden("A1", "1x1:1x" + columns, static_cast<int>(x2.size()));
  for (int rank = 0; rank < std::ssize(x2); ++rank) {
    const auto i = static_cast<std::size_t>(rank);
    golden.set(rank, kX1, {1}).set(rank, kX2, x2[i]).set(rank, kResidual, residual[i]);
    golden.set(rank, kGamma, Values(x2[0].size(), 1));
  }
  return golden;
}

TEST(GoldenNorm, SumOfOneRank) {
  Golden golden = example("1x1:1x4", 1);
  golden.set(kX1, {1}).set(kX2, {1, 2, 3, 4}).run();
  expect_example(golden, 0);
}

TEST(GoldenNorm, SumOfTwoRanks) {
  Golden golden = example("1x2,1:2,1x4", 2);
  golden.set(0, kX1, {2, 1}).set(0, kX2, {0, 1, 1, 0.5, .5, -1, 0, 2});
  golden.set(1, kX1, {-1}).set(1, kX2, {-.5, -1, -1, -1}).run();
  expect_example(golden, 0);
  expect_example(golden, 1);
}

TEST(GoldenNorm, BiasIsAddedOnEveryRank) {
  Golden golden = example("1x1:1x4", 4, {kBias});
  golden.set(kX1, {0}).set(kBias, {.25, .5, .75, 1}).run();
  for (int rank = 0; rank < 4; ++rank) expect_example(golden, rank);
}

TEST(GoldenNorm, ResidualAndGammaAreThisRanksOwnAndAddedOnce) {
  Golden golden = sums({{1, 1}, {2, 1}, {0, 0}}, {{0, 2}, {1, 2}, {-3, -2}});
  golden.set(1, kGamma, {1, 2}).run();
  EXPECT_THAT(golden.output(0), ElementsAre(3, 4));
  EXPECT_THAT(golden.output(1), ElementsAre(4, 4));
  EXPECT_THAT(golden.output(2), ElementsAre(0, 0));
  EXPECT_THAT(golden.output(1, 1), ElementsAre(1, 2));  // 4 / sqrt(16), times gamma
  EXPECT_THAT(golden.output(2, 1), ElementsAre(0, 0));  // epsilon keeps 0 / 0 away
}

// In float16 the numbers beside 2048 are 2 apart, and ties go to the even mantissa.
TEST(GoldenNorm, PartialsAreRoundedBeforeTheSumAndTheSumOnlyOnce) {
  // Rank 0's 2049 becomes 2048; then 2048 + 1 + 1 in fp32 is 2050. Rounding between the ranks would
  // leave 2048, and an unrounded 2049 would give 2052.
  Golden golden("A1", "1x2,1,1:2,1,1x2", 3);
  golden.set(0, kX1, {1, 1}).set(0, kX2, {2048, 0, 1, 0});
  for (int rank : {1, 2}) golden.set(rank, kX1, {1}).set(rank, kX2, {1, 0});
  golden.set(kResidual, {0, 0}).run();
  for (int rank = 0; rank < 3; ++rank) EXPECT_THAT(golden.output(rank), ElementsAre(2050, 0));
}

TEST(GoldenNorm, TheSumIsRoundedBeforeTheResidualIsAdded) {
  // 2048 + 1 is 2048 in float16, and so is 2048 + 1 again; in one sum it would be 2050.
  Golden golden = sums({{2048, 0}, {1, 0}}, {{1, 0}, {1, 0}});
  golden.run();
  for (int rank : {0, 1}) EXPECT_THAT(golden.output(rank), ElementsAre(2048, 0));
}

TEST(GoldenNorm, InfinityAndNanPassThroughTheirColumnAlone) {
  const double inf = HUGE_VAL;
  const Values zeros(4, 0);
  Golden golden = sums({{inf, 1, 60000, 1}, {-inf, 1, 60000, 2}}, {zeros, zeros});
  golden.run();
  const Values y = golden.output(1);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], 2);
  EXPECT_EQ(y[2], inf);  // 120000 is beyond float16
  EXPECT_EQ(y[3], 3);
  EXPECT_EQ(golden.data(0).output().bits(), golden.data(1).output().bits());
}

}  // namespace
}  // namespace weft::testing
