// SPDX-License-Identifier: Apache-2.0
#include "operators/shape.h"

#include <gtest/gtest.h>

namespace weft::tools {
namespace {

TEST(ShapeTest, ReadsTwoAndThreeAxes) {
  const Result<Shape> flat = parse_shape("48x1024:1024x4096");
  ASSERT_TRUE(flat.ok()) << flat.status().to_string();
  EXPECT_EQ(flat->rows, std::vector<std::int64_t>{48});
  EXPECT_EQ(flat->k, std::vector<std::int64_t>{1024});
  EXPECT_EQ(flat->n, 4096);
  EXPECT_EQ(flat->text(), "48x1024:1024x4096");

  const Result<Shape> batch = parse_shape("4x1024x512:512x8192");
  ASSERT_TRUE(batch.ok()) << batch.status().to_string();
  EXPECT_EQ(batch->rows, (std::vector<std::int64_t>{4, 1024}));
  EXPECT_EQ(batch->m(), 4096);
  EXPECT_EQ(batch->k_total(8), 8 * 512);
  EXPECT_DOUBLE_EQ(batch->flops(2), 2.0 * 4096 * 1024 * 8192);
}

TEST(ShapeTest, RanksMayHoldDifferentSlices) {
  const Result<Shape> shape = parse_shape("5x100,70,30:100,70,30x64");
  ASSERT_TRUE(shape.ok()) << shape.status().to_string();
  EXPECT_EQ(shape->k_of(0), 100);
  EXPECT_EQ(shape->k_of(2), 30);
  EXPECT_EQ(shape->k_of(3), 100);
  EXPECT_EQ(shape->k_total(4), 300);
  EXPECT_EQ(shape->text(), "5x100,70,30:100,70,30x64");
}

TEST(ShapeTest, EveryMistakeHasItsMessage) {
  const std::string hint =
      ".\nWrite MxK:KxN or BxSxK:KxN, for example 4x1024x1024:1024x8192; for slices of different "
      "width 48x100,70,30:100,70,30x64.";
  const std::pair<const char*, const char*> cases[] = {
      {"", "there must be one ':' between x1 and x2"},
      {"4x8", "there must be one ':' between x1 and x2"},
      {"4x8:8x2:2x1", "there must be one ':' between x1 and x2"},
      {"8:8x2", "x1 has 1 axes, it must have 2 or 3"},
      {"1x2x3x8:8x2", "x1 has 4 axes, it must have 2 or 3"},
      {"4x8:8", "x2 has 1 axes, it must have 2"},
      {"4x8:7x2", "x1 has k = 8, x2 has k = 7"},
      {"4x8,4:8x2", "x1 has k = 8,4, x2 has k = 8"},
      {"4x:8x2", "'' is not an extent"},
      {"4x-8:-8x2", "'-8' is not an extent"},
      {"4x8k:8kx2", "'8k' is not an extent"},
      {"4x8:8x99999999999", "the extent 99999999999 is above 1073741824"},
  };
  for (const auto& [text, what] : cases) {
    const Result<Shape> shape = parse_shape(text);
    ASSERT_FALSE(shape.ok()) << text;
    EXPECT_EQ(shape.status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(shape.status().message(), std::string("shape '") + text + "': " + what + hint);
  }
}

TEST(ShapeTest, NormsHaveTheAxesOfGammaBehindTheColon) {
  const Result<Shape> last = parse_norm_shape("4x6x8");
  ASSERT_TRUE(last.ok()) << last.status().to_string();
  EXPECT_EQ(last->rows, (std::vector<std::int64_t>{4, 6}));
  EXPECT_EQ(last->n, 8);
  EXPECT_EQ(last->m(), 24);
  EXPECT_EQ(last->k_total(3), 0);
  EXPECT_EQ(last->text(), "4x6x8:8");
  const Result<Shape> two = parse_norm_shape("4x6x8:6x8");
  ASSERT_TRUE(two.ok()) << two.status().to_string();
  EXPECT_EQ(two->rows, std::vector<std::int64_t>{4});
  EXPECT_EQ(two->gamma, (std::vector<std::int64_t>{6, 8}));
  EXPECT_EQ(two->n, 48);
  EXPECT_EQ(parse_norm_shape("6x8:6x8")->m(), 1);
  EXPECT_EQ(parse_norm_shape("1x2x3x4x5x6x7x8")->m(), 5040);
}

TEST(ShapeTest, FfnsHaveTheHiddenWidthBehindTheColon) {
  const Result<Shape> shape = parse_ffn_shape("4x6x8:32x16");
  ASSERT_TRUE(shape.ok()) << shape.status().to_string();
  EXPECT_EQ(shape->rows, (std::vector<std::int64_t>{4, 6}));
  EXPECT_EQ(shape->k, std::vector<std::int64_t>{8});
  EXPECT_EQ(shape->hidden, 32);
  EXPECT_EQ(shape->n, 16);
  EXPECT_EQ(shape->text(), "4x6x8:32x16");
  EXPECT_EQ(shape->multiplies_of_row(1), 32 * (2 * 8 + 16));
  EXPECT_EQ(parse_ffn_shape("24x8:32")->text(), "24x8:32x8");
  EXPECT_EQ(parse_ffn_shape("24x0:0x5")->text(), "24x0:0x5");
}

TEST(ShapeTest, MixturesHaveTokensOfEachRank) {
  const Result<Shape> shape = parse_moe_shape("5,0,7x64");
  ASSERT_TRUE(shape.ok()) << shape.status().to_string();
  EXPECT_EQ(shape->tokens_of(1), 0);
  EXPECT_EQ(shape->tokens_of(5), 7);
  EXPECT_EQ(shape->most_tokens(2), 5);
  EXPECT_EQ(shape->most_tokens(3), 7);
  EXPECT_EQ(shape->n, 64);
  EXPECT_EQ(shape->text(), "5,0,7x64");
  EXPECT_EQ(parse_moe_shape("128x7168")->text(), "128x7168");
}

TEST(ShapeTest, EveryMistakeInTheShapeOfAMixtureHasItsMessage) {
  const std::string hint =
      ".\nWrite tokens x elements of a token, for example 128x7168; for ranks with different "
      "numbers of tokens 5,0,7x7168.";
  const std::pair<const char*, const char*> cases[] = {
      {"", "x has 1 axes, it must have 2"},
      {"4x8x8", "x has 3 axes, it must have 2"},
      {"4,x8", "'' is not an extent"},
      {"4x8,8", "'8,8' is not an extent"},
      {"4:8x8", "'4:8' is not an extent"},
      {"1,65537x65536", "x has more than 4294967296 elements"},
  };
  for (const auto& [text, what] : cases) {
    const Result<Shape> shape = parse_moe_shape(text);
    ASSERT_FALSE(shape.ok()) << text;
    EXPECT_EQ(shape.status().message(), std::string("shape '") + text + "': " + what + hint);
  }
}

TEST(ShapeTest, EveryMistakeInTheShapeOfAnFfnHasItsMessage) {
  const std::string hint =
      ".\nWrite the axes of x, ':' and those of weight2, for example 1024x4096:11008x4096; "
      "1024x4096:11008 is the same.";
  const std::pair<const char*, const char*> cases[] = {
      {"4x8", "there must be one ':' between x and weight2"},
      {"4x8:8:8", "there must be one ':' between x and weight2"},
      {"8:8x8", "x has 1 axes, it must have 2 to 8"},
      {"1x1x1x1x1x1x1x1x1:8", "x has 9 axes, it must have 2 to 8"},
      {"4x8:", "'' is not an extent"},
      {"4x8:8x8x8", "weight2 has 3 axes, it must have 2"},
      {"65536x65536x2:8", "x has more than 4294967296 elements"},
      {"1x65536:65537x8", "a weight has more than 4294967296 elements"},
      {"1x8:65537x65536", "a weight has more than 4294967296 elements"},
  };
  for (const auto& [text, what] : cases) {
    const Result<Shape> shape = parse_ffn_shape(text);
    ASSERT_FALSE(shape.ok()) << text;
    EXPECT_EQ(shape.status().message(), std::string("shape '") + text + "': " + what + hint);
  }
}

TEST(ShapeTest, EveryMistakeInTheShapeOfANormHasItsMessage) {
  const std::string hint =
      ".\nWrite the axes of x1, for example 4096x8192; behind ':' those of gamma, if they are more "
      "than one: 4x1024x64x128:64x128.";
  const std::pair<const char*, const char*> cases[] = {
      {"", "'' is not an extent"},
      {"4x8:8:8", "there must be at most one ':', between x1 and gamma"},
      {"4x8:4", "the axes of gamma are not the last ones of x1"},
      {"8:4x8", "the axes of gamma are not the last ones of x1"},
      {"4x8:", "'' is not an extent"},
      {"1x1x1x1x1x1x1x1x1", "x1 has 9 axes, it has at most 8"},
      {"65536x65536x2", "x1 has more than 4294967296 elements"},
      {"1073741824x1073741824x1073741824x1073741824", "x1 has more than 4294967296 elements"},
  };
  for (const auto& [text, what] : cases) {
    const Result<Shape> shape = parse_norm_shape(text);
    ASSERT_FALSE(shape.ok()) << text;
    EXPECT_EQ(shape.status().message(), std::string("shape '") + text + "': " + what + hint);
  }
}

}  // namespace
}  // namespace weft::tools
