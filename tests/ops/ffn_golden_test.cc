// SPDX-License-Identifier: Apache-2.0
// ffn with numbers small enough to follow by hand, or from ffn_golden.py.
#include "ffn_golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace weft::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsNan;
using enum Activation;

// 1 + 2^-11 lies between 1 and 1 + 2^-10 of float16.
TEST(FfnGoldenFloat, Float16InHighPrecisionRoundsTheActivationAwayFromZero) {
  for (const bool steps : {false, true}) {
    FfnGolden golden("F16", 1, 2, 2, 2, kRelu, steps ? kSteps : kFp32);
    golden.data.x.set({1, 0x1p-11});
    golden.data.weight1.set({1, 1, 1, 3});
    // Away: 1 + 2^-10; to even: 1. The next tie goes up in either way.
    EXPECT_THAT(golden.run(), ElementsAre(steps ? 1 : 1 + 0x1p-10, 1 + 0x1p-9));
  }
}

TEST(FfnGoldenFloat, NegativeTiesGoAwayFromZeroToo) {
  for (const bool steps : {false, true}) {
    FfnGolden golden("F16", 1, 2, 1, 1, kReglu, steps ? kSteps : kFp32);
    golden.data.x.set({1, 0x1p-11});
    golden.data.weight1.set({-1, 1, -1, 0});  // value -(1 + 2^-11), gate 1
    EXPECT_THAT(golden.run(), ElementsAre(steps ? -1 : -1 - 0x1p-10));
  }
}

// 1 + 2^-8 lies between 1 and 1 + 2^-7 of bfloat16. As y it goes to even.
TEST(FfnGoldenFloat, BFloat16RoundsTheActivationAwayFromZeroAndYToEven) {
  FfnGolden golden("BF16", 1, 2, 2, 2);
  golden.data.x.set({1, 0x1p-8});
  golden.data.weight1.set({1, 1, 1, 0});
  golden.data.bias2 = GuardedTensor(DType::kFloat32, {2}, {1});
  golden.data.bias2.set({0, 0x1p-8});
  EXPECT_THAT(golden.run(), ElementsAre(1 + 0x1p-7, 1));
}

// 2049 is no float16: it becomes 2048 before the activation, or stays and is rounded away after it.
TEST(FfnGoldenFloat, TheFirstProductIsRoundedInHighPerformance) {
  for (const bool steps : {false, true}) {
    FfnGolden golden("F16", 1, 2, 1, 1, kRelu, steps ? kSteps : kFp32);
    golden.data.x.set({2048, 1});
    golden.data.weight1.set({1, 1});
    EXPECT_THAT(golden.run(), ElementsAre(steps ? 2048 : 2050));
  }
}

// In float16: silu(2) = 1.7616, fastgelu(2) = 1.9357, gelu(2) = 1.95460, of which the form with erf
// would make 1.95450 and so 1.9541015625.
TEST(FfnGoldenFloat, Functions) {
  for (const auto& [activation, at_2, at_minus_1] : {std::tuple{kSilu, 1.76171875, -0.26904296875},
                                                     {kFastGelu, 1.935546875, -0.1541748046875},
                                                     {kGelu, 1.955078125, -0.1588134765625},
                                                     {kRelu, 2.0, 0.0}}) {
    FfnGolden golden("F16", 1, 1, 3, 3, activation);
    golden.data.x.set({1});
    golden.data.weight1.set({2, -1, 0});
    EXPECT_THAT(golden.run(), ElementsAre(at_2, at_minus_1, 0)) << to_string(activation);
  }
}

// Columns 3 | -2: with the gate on the right 3 · relu(-2), on the left relu(3) · -2.
TEST(FfnGoldenFloat, TheGateIsTheRightHalf) {
  for (const char* row : {"F16", "BF16"})
    for (const bool left : {false, true}) {
      FfnGolden golden(row, 1, 1, 1, 1, kReglu, kFp32, left);
      golden.data.x.set({1});
      golden.data.weight1.set({3, -2});
      EXPECT_THAT(golden.run(), ElementsAre(left ? -6 : 0));
    }
  // Columns 2 4 | 1 -1: 2 · silu(1), 4 · silu(-1); on the left silu(2) · 1, silu(4) · -1.
  for (const bool left : {false, true}) {
    FfnGolden golden("F16", 1, 1, 2, 2, kSwiglu, kFp32, left);
    golden.data.x.set({1});
    golden.data.weight1.set({2, 4, 1, -1});
    const Values want =
        left ? Values{1.76171875, -3.927734375} : Values{1.4619140625, -1.076171875};
    EXPECT_EQ(golden.run(), want);
  }
}

// K2 = 0: y is bias2, in bfloat16 rounded away from zero, or zero.
TEST(FfnGoldenFloat, NothingBetweenTheProducts) {
  for (const Activation activation : {kGelu, kSwiglu}) {
    FfnGolden half("F16", 2, 3, 0, 2, activation);
    EXPECT_THAT(half.run(), Each(0));
    half.data.bias2 = GuardedTensor(DType::kFloat32, {2}, {1});
    half.data.bias2.set({1 + 0x1p-11, -1.5});
    EXPECT_THAT(half.run(), ElementsAre(1, -1.5, 1, -1.5));
    FfnGolden brain("BF16", 2, 3, 0, 2, activation);
    EXPECT_THAT(brain.run(), Each(0));
    brain.data.bias2 = GuardedTensor(DType::kFloat32, {2}, {1});
    brain.data.bias2.set({1 + 0x1p-8, -1 - 0x1p-8});
    EXPECT_THAT(brain.run(), ElementsAre(1 + 0x1p-7, -1 - 0x1p-7, 1 + 0x1p-7, -1 - 0x1p-7));
  }
}

// K1 = 0: the first product is its bias.
TEST(FfnGoldenFloat, NothingToMultiplyFirst) {
  FfnGolden golden("F16", 2, 0, 2, 2);
  golden.data.bias1 = GuardedTensor(DType::kFloat16, {2}, {1});
  golden.data.bias1.set({3, -5});
  EXPECT_THAT(golden.run(), ElementsAre(3, 0, 3, 0));
}

TEST(FfnGoldenFloat, SpecialValues) {
  const double inf = HUGE_VAL;
  for (const char* row : {"F16", "BF16"})
    for (const auto& [activation, at_inf, at_minus_inf] : {std::tuple{kSilu, inf, double{NAN}},
                                                           {kGelu, inf, double{NAN}},
                                                           {kFastGelu, inf, double{NAN}},
                                                           {kRelu, inf, 0.0}}) {
      // A row each for inf, -inf, nan and 1.
      FfnGolden golden(row, 4, 1, 1, 1, activation);
      golden.data.x.set({inf, -inf, NAN, 1});
      golden.data.weight1.set({1});
      const Values y = golden.run();
      EXPECT_EQ(y[0], at_inf);
      if (std::isnan(at_minus_inf))
        EXPECT_TRUE(std::isnan(y[1])) << to_string(activation);
      else
        EXPECT_EQ(y[1], at_minus_inf);
      EXPECT_TRUE(std::isnan(y[2]));
      EXPECT_NEAR(y[3], 0.87, 0.14);
    }
}

TEST(FfnGoldenFloat, Float16OverflowsToInfinity) {
  for (const InnerPrecise inner : {kFp32, kSteps}) {
    // 300 · 300 in h and in a; -300 · 300 becomes -inf, which relu takes for 0.
    FfnGolden golden("F16", 1, 1, 2, 2, kRelu, inner);
    golden.data.x.set({300});
    golden.data.weight1.set({300, -300});
    golden.data.weight2.set({1, 2, 1, 2});
    EXPECT_THAT(golden.run(), ElementsAre(HUGE_VAL, HUGE_VAL));
    // 65519 rounds to the largest float16, 65520 to infinity.
    FfnGolden edge("F16", 2, 2, 1, 1, kRelu, inner);
    edge.data.x.set({65504, 15, 65504, 16});
    edge.data.weight1.set({1, 1});
    EXPECT_THAT(edge.run(), ElementsAre(65504, HUGE_VAL));
  }
  FfnGolden y("F16", 1, 1, 1, 1);
  y.data.x.set({60000});
  y.data.weight1.set({1});
  y.data.weight2.set({-2});
  EXPECT_THAT(y.run(), ElementsAre(-HUGE_VAL));
}

TEST(FfnGoldenFloat, AGateOfInfinityTimesZeroIsNan) {
  FfnGolden golden("F16", 1, 1, 1, 1, kReglu);
  golden.data.x.set({1});
  golden.data.weight1.set({0, HUGE_VAL});
  EXPECT_THAT(golden.run(), ElementsAre(IsNan()));
}

// The rows of three experts times 1, 2 and 3; the last row is no one's.
TEST(FfnGoldenFloat, RowsMeetTheirExpert) {
  for (const bool ends : {false, true}) {
    FfnCase c{.row = ffn_row("F16"), .m = 4, .k1 = 1, .k2 = 1, .n2 = 1, .activation = kRelu};
    c.tokens = ends ? Dims{1, 1, 3} : Dims{1, 0, 2};
    c.tokens_are_ends = ends;
    c.bias1 = c.bias2 = false;
    FfnData data(c);
    data.x.set({1, 10, 100, 1000});
    data.weight1.set({1, 2, 3});
    data.weight2.set({1, 1, -1});
    ASSERT_TRUE(ffn(context_of(1), data.args()).ok());
    expect_correct(data);
    EXPECT_THAT(data.y.values(), ElementsAre(1, -30, -300, IsNan())) << "the canary is a nan";
  }
}

}  // namespace
}  // namespace weft::testing
