// SPDX-License-Identifier: Apache-2.0
// matmul_allreduce and matmul_reduce_scatter, computed by hand.
#include "golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

namespace weft::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using enum OperandId;

// --- bias and x3

TEST(GoldenAllReduce, BiasAndX3OnEveryRankCountAsOftenAsThereAreRanks) {
  for (const char* row : {"N1", "N2", "W1", "W4"}) {
    Golden golden(row, "2x2:2x2", 4, {kBias, kX3});
    golden.set(kX1, {0, 0, 0, 0}).set(kBias, {.25, -1}).set(kX3, {.5, 1, 2, 4}).run();
    for (int rank = 0; rank < 4; ++rank)
      EXPECT_THAT(golden.output(rank), ElementsAre(3, 0, 9, 12)) << row;
  }
}

TEST(GoldenAllReduce, BiasAndX3OnOneRankCountOnce) {
  for (const char* row : {"N1", "Q1"}) {
    Golden golden(row, "2x2:2x2", 3);
    golden.of(1).operands.with = {kBias, kX3};
    golden.set(kX1, {0, 0, 0, 0}).set(1, kBias, {3, -1}).set(1, kX3, {.5, 1, 2, 4});
    if (golden.data(0)[kDequantScale].given()) golden.set(kDequantScale, {.5, 2});
    golden.run();
    const double first = row[0] == 'Q' ? 1.5 : 3, second = row[0] == 'Q' ? -2 : -1;
    for (int rank = 0; rank < 3; ++rank)
      EXPECT_THAT(golden.output(rank), ElementsAre(first + .5, second + 1, first + 2, second + 4))
          << row;
  }
}

TEST(GoldenReduceScatter, BiasOnEveryRankCountsAsOftenAsThereAreRanks) {
  Golden golden("R1", "4x1:1x2", 2, {kBias});
  golden.set(kX1, {1, 2, 3, 4}).set(kX2, {1, 10}).set(kBias, {.5, 100}).run();
  EXPECT_THAT(golden.output(0), ElementsAre(3, 220, 5, 240));
  EXPECT_THAT(golden.output(1), ElementsAre(7, 260, 9, 280));
}

// x3 is added to the rounded product, and its own sum is rounded: near 2048 numbers are 2 apart.
TEST(GoldenAllReduce, X3IsAddedToTheRoundedProduct) {
  Golden golden("N1", "1x2:2x1", 1, {kX3});
  golden.set(kX1, {1, 1}).set(kX2, {2048, 1}).set(kX3, {1}).run();
  EXPECT_THAT(golden.output(0), ElementsAre(2048));  // 2050 in one sum
}

TEST(GoldenAllReduce, X3MayBeTheMemoryOfTheOutput) {
  for (const std::int64_t super_block_rows : {0, 1}) {
    Golden golden("N2", "3x1:1x2", 2, {kX3});
    golden.change([&](OperatorCase& c) {
      c.layout.in_place = true;
      c.super_block_rows = super_block_rows;
    });
    golden.set(kX1, {1, 2, 3}).set(kX2, {1, 2});
    golden.set(0, kX3, {1, 0, 0, 1, 0, 0}).set(1, kX3, {8, 0, 0, 8, 0, 16}).run();
    for (int rank : {0, 1})
      EXPECT_THAT(golden.output(rank), ElementsAre(11, 4, 4, 17, 6, 28)) << rank;
  }
}

TEST(GoldenAllReduce, WithoutDepthTheSumIsThatOfBiasAndX3) {
  for (const char* row : {"N1", "W1", "W3"}) {
    Golden golden(row, "2x0:0x2", 2, {kBias, kX3});
    golden.set(kBias, {2048, -3}).set(kX3, {1, 1, 3, 0}).run();
    // Each rank's 2049 is a tie and becomes 2048, 2051 becomes 2052.
    for (int rank : {0, 1})
      EXPECT_THAT(golden.output(rank), ElementsAre(4096, -4, 4104, -6)) << row;
  }
  Golden nothing("N1", "2x0:0x2", 2);
  nothing.run();
  EXPECT_THAT(nothing.output(1), Each(0));
}

TEST(GoldenAllReduce, OneRankMayHaveNoDepth) {
  Golden golden("N1", "1x0,2:0,2x2", 2, {kBias});
  golden.set(kBias, {1, 2}).set(1, kX1, {1, 1}).set(1, kX2, {10, 20, 30, 40}).run();
  EXPECT_THAT(golden.output(0), ElementsAre(42, 64));
}

// --- the sum over ranks

// 2^30 swallows a 1 that comes right after it.
TEST(GoldenSum, PartialsAreAddedInRankOrderInFp32) {
  const double large = 0x1p30;
  for (const char* row : {"N2", "A2", "R2"})
    for (const std::int64_t super_block_rows : {0, 1})
      for (const auto& [p, sum] : {std::pair{Values{large, 1, -large}, 0.0},
                                   {Values{large, -large, 1}, 1.0},
                                   {Values{1, large, -large}, 0.0}}) {
        Golden golden(row, "3x1:1x1", 3);
        golden.change([&](OperatorCase& c) { c.super_block_rows = super_block_rows; });
        golden.set(kX1, {1, 1, 1});
        for (int rank = 0; rank < 3; ++rank)
          golden.set(rank, kX2, {p[static_cast<std::size_t>(rank)]});
        if (row[0] == 'A') golden.set(kResidual, {0, 0, 0});
        golden.run();
        for (int rank = 0; rank < 3; ++rank)
          EXPECT_THAT(golden.output(rank), Each(sum)) << row << ", rank " << rank;
      }
}

// --- int8 products and their scales

TEST(GoldenQuant, BiasWrapsAsInt32) {
  Golden golden("Q3", "1x1:1x2", 1, {kBias});
  golden.set(kX1, {1}).set(kX2, {1, -2}).set(kBias, {2147483647, -2147483647});
  golden.set(kDequantScale, {0x1p-24, 0x1p-24}).run();
  EXPECT_THAT(golden.output(0), ElementsAre(-128, 128));
}

TEST(GoldenQuant, ARawIntegerAsPackedScaleIsATinyNumber) {
  for (const char* row : {"Q1", "Q2", "A3", "R3"}) {
    Golden golden(row, "1x64:64x3", 1);
    const OperandId scale = row[0] == 'R' ? kX2Scale : kDequantScale;
    golden.set(kX1, Values(64, 127)).set(kX2, Values(3 * 64, 127));
    golden.data(0)[scale].set_words({1, 3, 1000000});
    if (row[0] == 'A') golden.set(kResidual, {1, 0, -1});
    golden.run();
    EXPECT_THAT(golden.output(0), row[0] == 'A' ? ElementsAre(1, 0, -1) : ElementsAre(0, 0, 0));
  }
}

TEST(GoldenQuant, OnlyTheLow32BitsOfAPackedScaleCount) {
  constexpr std::uint64_t kHalf = 0x3f000000, kThree = 0x40400001;  // 3 and the lowest bit
  for (const char* row : {"Q1", "Q2", "R3"}) {
    Golden golden(row, "1x1:1x4", 1);
    golden.set(kX1, {100}).set(kX2, {1, 1, 1, 1});
    golden.data(0)[row[0] == 'R' ? kX2Scale : kDequantScale].set_words(
        {kHalf, kHalf | 1ull << 46 | 300ull << 37, kHalf | ~0ull << 32, kThree});
    golden.run();
    EXPECT_THAT(golden.output(0), ElementsAre(50, 50, 50, 300)) << row;
  }
}

// fp32 steps: 16777217 is rounded to 16777216 before it meets the scale, and the product of the
// scales is not rounded to T between them.
TEST(GoldenQuant, ScalesAreAppliedOneAfterTheOtherInFp32) {
  Golden golden("Q4", "2x1:1x1", 1, {kBias});
  golden.set(kX1, {1, 1}).set(kX2, {1}).set(kBias, {16777216}).set(kDequantScale, {0x1p-20});
  golden.set(kPertokenScale, {0x1p-4, 100}).run();
  EXPECT_THAT(golden.output(0), ElementsAre(1, 1600));
  Golden small("Q4", "1x1:1x1", 1);
  small.set(kX1, {127}).set(kX2, {127}).set(kDequantScale, {1e-9}).set(kPertokenScale, {1e7}).run();
  EXPECT_NEAR(small.output(0)[0], 161.29, 0.0625);  // 1.6e-5 would be a subnormal float16
}

// --- restored weights

TEST(GoldenWeight, RestoringRoundsTwiceInFloat16) {
  for (const bool transposed : {false, true}) {
    Golden golden("W1", "1x1:1x2", 1, {kAntiquantOffset});
    golden.change([&](OperatorCase& c) { c.operands.transpose_x2 = transposed; });
    golden.set(kX1, {1}).set(kX2, {100, -100});
    golden.set(kAntiquantOffset, {.3, .3}).set(kAntiquantScale, {.007, .007}).run();
    // (100 + 0.30005) is 100.3125 in float16, times 0.0069999695.
    EXPECT_EQ(golden.output(0)[0], 0.7021484375);
    EXPECT_NEAR(golden.output(0)[1], -0.69787, 0.0005);  // (-99.7) · 0.007, not -0.7 + 0.3
  }
}

TEST(GoldenWeight, RestoringRoundsOnceInBFloat16) {
  Golden golden("W2", "1x1:1x1", 1, {kAntiquantOffset});
  golden.set(kX1, {1}).set(kX2, {100}).set(kAntiquantOffset, {.3}).set(kAntiquantScale, {.007});
  golden.run();
  // 100.30078125 · 0.0069885254 = 0.70095; a sum rounded to 100.5 would give 0.703125.
  EXPECT_THAT(golden.output(0), ElementsAre(0.69921875));
}

TEST(GoldenWeight, GroupsOfAnUnevenDepth) {
  for (const char* row : {"W1", "W2", "W3", "W4"})
    for (const bool transposed : {false, true})
      for (const bool strided : {false, true}) {
        Golden golden(row, "2x70:70x2", 1);
        golden.change([&](OperatorCase& c) {
          c.operands.scale = tools::ScaleShape::kGroup;
          c.operands.transpose_x2 = transposed;
          c.layout.vectors_strided = strided;  // then the scale is the view of an (n, groups) one
        });
        SCOPED_TRACE(golden.of(0).text(1));
        // Groups of 32, 32 and 6 rows.
        golden.set(kX1, Values(140, 1)).set(kX2, Values(140, 1));
        golden.set(kAntiquantScale, {1, 2, 2, 4, 4, 8}).run();
        EXPECT_THAT(golden.output(0), ElementsAre(120, 240, 120, 240));
      }
}

// --- int8 communication

constexpr tools::OperandSet kComm = {kCommQuantScale1, kCommQuantScale2};

/// Ranks with the partials `p` in a row of Q1: 1 · 1 times a dequantisation scale.
Golden int8_ranks(std::string_view row, const std::vector<Values>& p, const Values& s1,
                  const Values& s2) {
  Golden golden(row, "1x1:1x" + std::to_string(s1.size()), static_cast<int>(p.size()), kComm);
  golden.set(kX1, {1}).set(kX2, Values(s1.size(), 1));
  golden.set(kCommQuantScale1, s1).set(kCommQuantScale2, s2);
  for (std::size_t rank = 0; rank < p.size(); ++rank)
    golden.set(static_cast<int>(rank), kDequantScale, p[rank]);
  return golden;
}

TEST(GoldenInt8, Example) {
  for (const std::int64_t super_block_rows : {0, 1}) {
    Golden golden = int8_ranks("Q1", {{3.3}, {-1.2}}, {.5}, {1});
    golden.change([&](OperatorCase& c) { c.super_block_rows = super_block_rows; });
    golden.run();
    // 7 and -2; 5 · 0.5 = 2.5 is a tie.
    for (int rank : {0, 1}) EXPECT_THAT(golden.output(rank), ElementsAre(2));
  }
}

TEST(GoldenInt8, OneRankQuantisesTwiceToo) {
  Golden golden = int8_ranks("Q1", {{3.3, 3.4}}, {.5, .5}, {1, .25});
  golden.run();
  EXPECT_THAT(golden.output(0), ElementsAre(4, 3.5));  // 7 · 0.5 = 3.5 is a tie; 14 · 0.25
}

TEST(GoldenInt8, Saturates) {
  Golden one = int8_ranks("Q1", {{1000, -1000}}, {.5, .5}, {.5, .5});
  one.run();
  EXPECT_THAT(one.output(0), ElementsAre(63.5, -64));
  // 127 + 127 and -128 - 128 saturate once more; with a wider second scale they do not.
  Golden two =
      int8_ranks("Q1", {{1000, -1000, 100}, {1000, -1000, 1000}}, {.5, .5, .5}, {.5, .5, 2});
  two.run();
  EXPECT_THAT(two.output(1), ElementsAre(63.5, -64, 128));  // 254 / 4 = 63.5 is a tie
}

TEST(GoldenInt8, InfinityAndNanSaturateAndVanish) {
  Golden golden = int8_ranks("Q1", {{HUGE_VAL, -HUGE_VAL, NAN}}, {1, 1, 1}, {1, 1, 1});
  golden.run();
  EXPECT_THAT(golden.output(0), ElementsAre(127, -128, 0));
}

TEST(GoldenInt8, ZeroScalesGiveNoNan) {
  // First scale: ±infinity saturates, 0 / 0 gives 0, and the ratio 0 ends it all.
  Golden first = int8_ranks("Q1", {{3, -3, 0}}, {0, 0, 0}, {1, 1, 1});
  first.run();
  EXPECT_THAT(first.output(0), ElementsAre(0, 0, 0));
  // Second scale: an infinite ratio saturates, times 0. Both: the ratio is nan.
  Golden second = int8_ranks("Q1", {{3, -3, 0, 1}}, {1, 1, 1, 0}, {0, 0, 0, 0});
  second.run();
  EXPECT_THAT(second.output(0), Each(0));
}

// bfloat16 quotients are rounded to float16 before they are rounded to integers.
TEST(GoldenInt8, QuotientsPassThroughFloat16) {
  // 117 / 1.1640625 = 100.51 is 100.5 in float16 and then 100; 100 · 1.1640625 in bfloat16.
  Golden golden = int8_ranks("Q3", {{117}}, {1.1640625}, {1.1640625});
  golden.run();
  EXPECT_THAT(golden.output(0), ElementsAre(116.5));
}

TEST(GoldenInt8, EveryColumnHasItsScaleAndRowsNeedNotDivideByRanks) {
  for (const char* row : {"Q1", "Q3", "Q4", "Q5"})
    for (const std::int64_t super_block_rows : {0, 2, 5}) {
      const bool per_token = row[1] >= '4';
      Golden golden(row, "5x1:1x4", 2, kComm);
      golden.change([&](OperatorCase& c) { c.super_block_rows = super_block_rows; });
      SCOPED_TRACE(golden.of(0).text(2));
      golden.set(kX1, {1, 2, 4, 8, 100}).set(kX2, {1, 1, 1, 1}).set(kDequantScale, {1, 1, 1, 1});
      if (per_token) golden.set(kPertokenScale, {1, 1, 1, 1, .5});
      golden.set(kCommQuantScale1, {1, 2, .25, 16}).set(kCommQuantScale2, {2, 4, .5, 32}).run();
      const Values want = {2,   0,   2,    0,  // 1 / 2 and 1 / 16 are nearest to 0
                           4,   4,   4,    0,  //
                           8,   8,   8,    0,  //
                           16,  16,  16,   0,  // 8 / 16 is a tie
                           200, 200, 63.5, 192};
      Values last = want;
      // 100 · 0.5: 50 + 50; 25 + 25; 127 + 127 saturated; 3.125 is 3.
      if (per_token) last[16] = 100, last[17] = 100, last[18] = 63.5, last[19] = 96;
      for (int rank : {0, 1}) EXPECT_EQ(golden.output(rank), last);
    }
}

TEST(GoldenInt8, X3IsQuantisedWithTheProduct) {
  Golden golden("Q1", "1x1:1x1", 2, {kX3, kCommQuantScale1, kCommQuantScale2});
  golden.set(kX1, {1}).set(kX2, {1}).set(kDequantScale, {.75}).set(kX3, {.75});
  golden.set(kCommQuantScale1, {1}).set(kCommQuantScale2, {1}).run();
  EXPECT_THAT(golden.output(0), ElementsAre(4));  // 1.5 is 2 on both; apart they would be 1 + 1
}

}  // namespace
}  // namespace weft::testing
