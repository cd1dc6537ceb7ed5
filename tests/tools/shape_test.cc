// SPDX-License-Identifier: Apache-2.0
#include "shape.h"

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

}  // namespace
}  // namespace weft::tools
