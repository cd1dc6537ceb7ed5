// SPDX-License-Identifier: Apache-2.0
// ffn from integers, with numbers small enough to follow by hand; and a worked example in all rows
// from ffn_golden.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "ffn_golden.h"

namespace weft::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using enum Activation;

constexpr const char* kQuantRows[] = {"Q16_uint64", "Q16_int64", "Q16_float32", "QBF16"};

std::uint64_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

TEST(FfnGoldenQuant, TiesGoToTheEvenInteger) {
  for (const char* row : kQuantRows) {
    FfnGolden golden(row, 1, 1, 6, 6);
    golden.data.bias1.set({1, 3, 5, 7, 9, -9});
    golden.data.scale.set({.5, .5, .5, .5, .5, .5});
    EXPECT_THAT(golden.run(), ElementsAre(0, 2, 2, 4, 4, 0)) << row;
    golden.data.offset.set({-4});  // -3.5, -2.5, ... and -4 from relu's 0
    EXPECT_THAT(golden.run(), ElementsAre(-4, -2, -2, 0, 0, -4)) << row;
  }
}

TEST(FfnGoldenQuant, Saturates) {
  for (const char* row : kQuantRows) {
    FfnGolden golden(row, 1, 1, 4, 4);
    golden.data.bias1.set({127, 128, 60000, 0});
    EXPECT_THAT(golden.run(), ElementsAre(127, 127, 127, 0)) << row;
    golden.data.scale.set({1, 1, 1, 1});
    golden.data.offset.set({-130});
    EXPECT_THAT(golden.run(), ElementsAre(-3, -2, 127, -128)) << row;
    golden.data.scale.set({-1, -2, -1, 2});
    golden.data.offset.set({0});
    EXPECT_THAT(golden.run(), ElementsAre(-127, -128, -128, 0)) << row;
  }
}

// Each number would be the one in brackets without the rounding to float16 that it shows.
TEST(FfnGoldenQuant, ProductSumAndScaleAreRoundedToFloat16) {
  const auto quantised = [](double eighths, double scale, double offset) {
    FfnGolden golden("Q16_uint64", 1, 1, 1, 1);
    golden.data.bias1.set({eighths});
    golden.data.deq_scale1.set({.125});
    golden.data.scale.set({scale});
    golden.data.offset.set({offset});
    return golden.run()[0];
  };
  // 241.125 · 0.54345703125 = 131.041..., as float16 131; less 6.5 is 124.5 (product: 125)
  EXPECT_EQ(quantised(1929, 0.54345703125, -6.5), 124);
  // 162.625 · 0.412109375 = 67.019... is 67; less 14.5 is 52.5 (product: 53)
  EXPECT_EQ(quantised(1301, 0.412109375, -14.5), 52);
  // 60.375 · 0.52197265625 = 31.514... is 31.515625; and 15 is 46.515625, as float16 46.5 (sum: 47)
  EXPECT_EQ(quantised(483, 0.52197265625, 15), 46);
  // 0.6779687 is 0.677734375; 68.25 times that 46.25...; and 8.25 is 54.5 (scale: 55)
  EXPECT_EQ(quantised(546, 0.6779687, 8.25), 54);
}

// 2049 is no float16. Times a gate of 1.5 it is 3073.5, as float16 3074, where it was not rounded
// before; 2^-7 and the offset make of that 24.516, and of 3072 24.5.
TEST(FfnGoldenQuant, WithFloat16TheFirstProductIsRounded) {
  for (const char* row : kQuantRows) {
    FfnGolden golden(row, 1, 1, 1, 1, kReglu);
    golden.data.bias1.set({2049, 3});
    golden.data.deq_scale1.set({1, .5});
    golden.data.scale.set({0x1p-7});
    golden.data.offset.set({.5});
    EXPECT_THAT(golden.run(), ElementsAre(row == std::string("QBF16") ? 25 : 24)) << row;
  }
}

// One value for all, one for each expert and column, and offsets of experts.
TEST(FfnGoldenQuant, ScalesOfExperts) {
  for (const bool per_channel : {false, true}) {
    FfnCase c{.row = ffn_row("QBF16"), .m = 3, .k1 = 1, .k2 = 2, .n2 = 2, .activation = kRelu};
    c.tokens = Dims{1, 0, 2};
    c.scale_per_channel = per_channel;
    c.bias1 = c.bias2 = false;
    FfnData data(c);
    data.x.set({1, 2, 3});
    data.weight1.set({10, 20, 0, 0, 10, 20});
    data.weight2.set({1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1});
    data.deq_scale1.set(Values(6, 1)), data.deq_scale2.set(Values(6, 1));
    data.scale.set(per_channel ? Values{1, 2, 9, 9, -1, .5} : Values{1, 9, .5});
    data.offset.set({1, 9, -2});
    ASSERT_TRUE(ffn(context_of(1), data.args()).ok());
    expect_correct(data);
    // Rows 10 20, 20 40, 30 60: the first by the scales and offset of expert 0, the others of 2.
    if (per_channel)
      EXPECT_THAT(data.y.values(), ElementsAre(11, 41, -22, 18, -32, 28));
    else
      EXPECT_THAT(data.y.values(), ElementsAre(11, 21, 8, 18, 13, 28));
  }
}

// The low 13 bits do not count: with them 1 would be nearly 1 + 2^-10. Nor do those of the word
// above the fp32 number.
TEST(FfnGoldenQuant, ScalesKeepNineteenBits) {
  constexpr std::uint64_t kLow = 0x1fff;
  for (const char* row : {"Q16_uint64", "Q16_int64", "Q16_float32"})
    for (const std::uint64_t more :
         {std::uint64_t{0}, std::uint64_t{1} << 46, std::uint64_t{0x7fff} << 32}) {
      FfnGolden second(row, 1, 1, 1, 1);
      second.data.bias1.set({100});
      second.data.weight2.set({20});
      second.data.deq_scale2.set_words({bits_of(1) | kLow | more});
      EXPECT_THAT(second.run(), ElementsAre(2000)) << row << " " << more << ", or nearly 2002";
      FfnGolden first(row, 1, 1, 1, 1);
      first.data.bias1.set({1024});
      first.data.deq_scale1.set_words({bits_of(.5f) | kLow | more});
      first.data.scale.set({.125});
      first.data.offset.set({.5});
      // 512 / 8 + 0.5 goes to the even 64; 512.5 / 8 + 0.5 would go to 65.
      EXPECT_THAT(first.run(), ElementsAre(64)) << row << " " << more;
    }
}

// The sums are int32: 2^31 wraps to -2^31.
TEST(FfnGoldenQuant, SumsWrap) {
  FfnGolden golden("QBF16", 1, 1, 1, 1);
  golden.data.bias1.set({1});
  golden.data.bias2 = GuardedTensor(DType::kInt32, {1}, {1});
  golden.data.bias2.set({2147483647});
  EXPECT_THAT(golden.run(), ElementsAre(-0x1p31));
}

// K2 = 0: y is what deq_scale2 makes of bias2, or zero.
TEST(FfnGoldenQuant, NothingBetweenTheProducts) {
  for (const char* row : kQuantRows) {
    FfnGolden golden(row, 2, 3, 0, 2);
    EXPECT_THAT(golden.run(), Each(0));
    golden.data.bias2 = GuardedTensor(DType::kInt32, {2}, {1});
    golden.data.bias2.set({3, -100});
    golden.data.deq_scale2.set({.5, 2});
    EXPECT_THAT(golden.run(), ElementsAre(1.5, -200, 1.5, -200)) << row;
  }
}

// The lower nibble is the column before: 0xe3 is 3, -2.
TEST(FfnGoldenRestored, TheLowNibbleComesFirst) {
  const std::uint8_t weight1[] = {0xe3}, weight2[] = {0x71, 0x8f};
  for (const char* row : {"F16_int4", "BF16_int4"}) {
    FfnGolden golden(row, 1, 1, 2, 2, kRelu);
    golden.data.x.set({1});
    golden.data.antiquant_scale1.set({1, 1}), golden.data.antiquant_scale2.set({1, 1});
    golden.data.antiquant_offset1.set({0, 4}), golden.data.antiquant_offset2.set({0, 0});
    FfnArgs args = golden.data.args();
    args.weight1 = {weight1, DType::kInt4, {1, 2}};
    args.weight2 = {weight2, DType::kInt4, {2, 2}};
    ASSERT_TRUE(ffn(context_of(1), args).ok());
    // a = 3, 2; 3 · (1, 7) + 2 · (-1, -8)
    EXPECT_THAT(golden.data.y.values(), ElementsAre(1, 5)) << row;
  }
}

// float16: 100 + 0.04 is 100.0625, times 3 is 300.1875 and so 300.25; rounded once, or with the
// scale before the offset, it would be 300. bfloat16: (100 + 0.75) · 3 = 302.25 is 302; with a
// rounding between them, to 101, it would be 304.
TEST(FfnGoldenRestored, OffsetsComeBeforeScales) {
  for (const auto& [row, offset, want] :
       {std::tuple{"F16_int8", 0.04, 300.25}, {"BF16_int8", 0.75, 302.0}}) {
    FfnGolden golden(row, 1, 1, 1, 1);
    golden.data.x.set({1});
    golden.data.weight1.set({100});
    golden.data.antiquant_offset1.set({offset}), golden.data.antiquant_scale1.set({3});
    golden.data.antiquant_offset2.set({0}), golden.data.antiquant_scale2.set({1});
    EXPECT_THAT(golden.run(), ElementsAre(want)) << row;
  }
}

// Two groups of two rows in the first product, one of four in the second.
TEST(FfnGoldenRestored, GroupsAreRowsOfK) {
  FfnCase c{.row = ffn_row("F16_int8"), .m = 1, .k1 = 4, .k2 = 2, .n2 = 1, .activation = kRelu};
  c.bias1 = c.bias2 = false;
  c.groups1 = 2, c.groups2 = kOneScale;
  FfnData data(c);
  data.x.set({1, 1, 1, 1});
  data.weight1.set({1, 0, 10, 0, 100, 0, 100, 1});
  data.antiquant_scale1.set({1, 1, 2, 4});
  data.antiquant_offset1.set({0, 0, 0, 1});
  data.weight2.set({1, 10});
  data.antiquant_scale2.set({1}), data.antiquant_offset2.set({0});
  ASSERT_TRUE(ffn(context_of(1), data.args()).ok());
  expect_correct(data);
  // 1 + 10 + 2 · 200 = 411; 4 · (1 + 2) = 12
  EXPECT_THAT(data.y.values(), ElementsAre(411 + 120));
}

// As grid() of ffn_golden.py.
Values grid(std::int64_t rows, std::int64_t columns, int a, int b, int modulus, double by) {
  Values values;
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j)
      values.push_back(static_cast<double>((a * i + b * j) % modulus - modulus / 2) * by);
  return values;
}
Values ramp(std::int64_t n, int modulus, double by) {
  Values values;
  for (std::int64_t i = 0; i < n; ++i)
    values.push_back((static_cast<double>(i % modulus) - 1) * by);
  return values;
}

TEST(FfnGoldenExample, IsWhatNumpyMakesOfIt) {
  struct Example {
    std::string row;
    const char* activation;
    Values y;
  };
  const Example examples[] = {
      {"F16",
       "gelu",
       {-0.71826171875, 0.375244140625, 0.1943359375, -0.3046875, -0.159423828125, 0.304931640625}},
      {"F16",
       "silu",
       {-0.65625, 0.34130859375, 0.18896484375, -0.302001953125, -0.136474609375, 0.27490234375}},
      {"F16",
       "fastgelu",
       {-0.716796875, 0.372802734375, 0.1951904296875, -0.304931640625, -0.1617431640625,
        0.30810546875}},
      {"F16",
       "swiglu",
       {-0.2064208984375, -0.039581298828125, 0.2578125, -0.1600341796875, -0.1629638671875,
        0.350341796875}},
      {"BF16", "gelu", {-0.71875, 0.375, 0.1943359375, -0.3046875, -0.1591796875, 0.3046875}},
      {"BF16", "silu", {-0.65625, 0.33984375, 0.189453125, -0.302734375, -0.1357421875, 0.2734375}},
      {"BF16",
       "fastgelu",
       {-0.71875, 0.373046875, 0.1953125, -0.3046875, -0.162109375, 0.30859375}},
      {"BF16",
       "swiglu",
       {-0.2060546875, -0.03955078125, 0.2578125, -0.16015625, -0.162109375, 0.349609375}},
      {"Q16", "gelu", {-12.4375, 8.59375, -0.34375, -1.875, -5.1875, 3.53125}},
      {"Q16", "silu", {-12.4375, 8.96875, -0.6875, -1.75, -5.0, 3.125}},
      {"Q16", "fastgelu", {-12.4375, 8.59375, -0.34375, -1.875, -5.1875, 3.53125}},
      {"Q16", "swiglu", {2.625, -2.5, 0.6875, 5.875, -18.375, 8.78125}},
      {"QBF16", "gelu", {-12.4375, 8.625, -0.34375, -1.875, -5.1875, 3.53125}},
      {"QBF16", "silu", {-12.4375, 9.0, -0.6875, -1.75, -5.0, 3.125}},
      {"QBF16", "fastgelu", {-12.4375, 8.625, -0.34375, -1.875, -5.1875, 3.53125}},
      {"QBF16", "swiglu", {2.625, -2.5, 0.6875, 5.875, -18.375, 8.75}},
      {"F16_int8",
       "gelu",
       {-0.68408203125, 0.44677734375, 0.2142333984375, -0.305908203125, -0.1666259765625,
        0.279541015625}},
      {"F16_int8",
       "silu",
       {-0.62548828125, 0.404052734375, 0.2015380859375, -0.3056640625, -0.151611328125,
        0.2476806640625}},
      {"F16_int8",
       "fastgelu",
       {-0.68701171875, 0.44775390625, 0.2156982421875, -0.30615234375, -0.168701171875,
        0.283935546875}},
      {"F16_int8",
       "swiglu",
       {-0.216552734375, -0.038299560546875, 0.25439453125, -0.1602783203125, -0.131103515625,
        0.343505859375}},
      {"BF16_int8",
       "gelu",
       {-0.6875, 0.44921875, 0.21484375, -0.306640625, -0.1689453125, 0.279296875}},
      {"BF16_int8",
       "silu",
       {-0.62890625, 0.40625, 0.201171875, -0.306640625, -0.1533203125, 0.248046875}},
      {"BF16_int8",
       "fastgelu",
       {-0.69140625, 0.44921875, 0.2158203125, -0.306640625, -0.1708984375, 0.28515625}},
      {"BF16_int8",
       "swiglu",
       {-0.2158203125, -0.03857421875, 0.25390625, -0.1591796875, -0.1328125, 0.34375}},
  };
  for (const auto& [name, activation, want] : examples) {
    const bool quant = name[0] == 'Q', restored = name.find("int8") != std::string::npos;
    FfnCase c{
        .row = ffn_row(name == "Q16" ? "Q16_uint64" : name), .m = 2, .k1 = 3, .k2 = 4, .n2 = 3};
    c.activation = *activation_from_name(activation);
    c.groups1 = c.groups2 = kOneScale;
    FfnData data(c);
    const std::int64_t n1 = c.n1();
    const double w1 = quant ? 7 : restored ? 1 : .25, w2 = quant || restored ? 1 : .125;
    data.x.set(grid(2, 3, 5, 3, 7, quant ? 9 : .25));
    data.weight1.set(grid(3, n1, 4, 2, 9, w1)), data.weight2.set(grid(4, 3, 3, 5, 7, w2));
    data.bias1.set(ramp(n1, 3, quant ? 100 : .125)), data.bias2.set(ramp(3, 3, quant ? 10 : .25));
    if (quant) {
      data.scale.set({23.7}), data.offset.set({-1.3});
      data.deq_scale1.set(Values(static_cast<std::size_t>(n1), 0x1p-8));
      data.deq_scale2.set(Values(3, 0x1p-5));
    }
    if (restored) {
      data.antiquant_scale1.set({.19}), data.antiquant_offset1.set({.3});
      data.antiquant_scale2.set({.19}), data.antiquant_offset2.set({.3});
    }
    ASSERT_TRUE(ffn(context_of(1), data.args()).ok());
    expect_correct(data);
    EXPECT_EQ(data.y.values(), want) << name << " " << activation;
  }
}

}  // namespace
}  // namespace weft::testing
