// SPDX-License-Identifier: Apache-2.0
// Packed dequantisation scales: known words, rounding against a search over all neighbours, and
// what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "weft/weights.h"

namespace weft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kTruncate = QuantParamRound::kTruncate, kNearest = QuantParamRound::kNearest;
constexpr std::uint64_t kOne = std::uint64_t{1} << 46;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::uint64_t word(float scale, std::optional<float> offset = {},
                   QuantParamRound round = kTruncate) {
  std::uint64_t out = 0xdead;
  ConstTensorRef offsets;
  if (offset) offsets = ConstTensorRef(&*offset, DType::kFloat32, {1});
  const Status status = trans_quant_param({&scale, DType::kFloat32, {1}}, offsets,
                                          {&out, DType::kUInt64, {1}}, round);
  EXPECT_TRUE(status.ok()) << status.to_string();
  return out;
}
float effective(std::uint64_t word) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(word));
}

TEST(TransQuantParam, KnownWords) {
  EXPECT_EQ(word(1.0f), 0x40003f800000u);
  EXPECT_EQ(word(1.0f), 70369809530880u);
  EXPECT_EQ(word(0.1f), 0x40003dccc000u);
  EXPECT_EQ(effective(word(0.1f)), 0.0999755859375f);
  EXPECT_EQ(word(0.3f), 0x40003e998000u);
  EXPECT_EQ(effective(word(0.3f)), 0.2998046875f);
  EXPECT_EQ(word(0.3f, {}, kNearest), 0x40003e99a000u);
  EXPECT_EQ(effective(word(0.3f, {}, kNearest)), 0.300048828125f);
  EXPECT_EQ(word(1 + 1.5f * 0x1p-10f), 0x40003f802000u);
  EXPECT_EQ(word(1 + 1.5f * 0x1p-10f, {}, kNearest), 0x40003f804000u);
  EXPECT_EQ(word(-2.5f), 0x4000c0200000u);
}

TEST(TransQuantParam, KnownOffsets) {
  EXPECT_EQ(word(1, 5.0f), 0x40a03f800000u);
  EXPECT_EQ(word(1, 2.5f), 0x40403f800000u);
  EXPECT_EQ(word(1, -1.0f), 0x7fe03f800000u);
  EXPECT_EQ(word(1, 300.0f), 0x5fe03f800000u);
  EXPECT_EQ(word(1, -300.0f), 0x60003f800000u);
  EXPECT_EQ(word(1, 0.0f), word(1));
  EXPECT_EQ(word(1, 3.5f), word(1, 4.0f));  // ties to even
  EXPECT_EQ(word(1, -0.5f), word(1, 0.0f));
  EXPECT_EQ(word(1, 255.5f), word(1, 255.0f));
  EXPECT_EQ(word(1, -256.5f), word(1, -256.0f));
  EXPECT_EQ(word(1, kInfinity), word(1, 255.0f));
  EXPECT_EQ(word(1, -kInfinity), word(1, -256.0f));
  EXPECT_EQ(word(1, std::nanf("")), word(1, 0.0f));
}

TEST(TransQuantParam, OffsetsAreNineBitsOfTwosComplement) {
  for (int offset = -256; offset <= 255; ++offset) {
    const std::uint64_t bits = word(1, static_cast<float>(offset)) >> 37;
    EXPECT_EQ(bits & 0x1ff, static_cast<std::uint64_t>(offset < 0 ? offset + 512 : offset));
    EXPECT_EQ(bits >> 9, 1u);  // bit 46, and nothing above it
  }
}

TEST(TransQuantParam, SpecialScales) {
  const auto low = [](std::uint32_t bits, QuantParamRound round) {
    const std::uint64_t w = word(std::bit_cast<float>(bits), {}, round);
    EXPECT_EQ(w >> 32, kOne >> 32);
    return static_cast<std::uint32_t>(w);
  };
  for (const QuantParamRound round : {kTruncate, kNearest}) {
    EXPECT_EQ(low(0x00000000, round), 0x00000000u);
    EXPECT_EQ(low(0x80000000, round), 0x80000000u);
    EXPECT_EQ(low(0x7f800000, round), 0x7f800000u);
    EXPECT_EQ(low(0xff800000, round), 0xff800000u);
    EXPECT_EQ(low(0x7fc00001, round), 0x7fc00000u);  // stays nan
    EXPECT_EQ(low(0x7f800001, round), 0x7f800000u);  // a nan of low bits only becomes infinity
  }
  // Subnormals: kept by truncation as far as the bits go, signed zero otherwise.
  EXPECT_EQ(low(0x007fffff, kTruncate), 0x007fe000u);
  EXPECT_EQ(low(0x007fffff, kNearest), 0x00000000u);
  EXPECT_EQ(low(0x807fffff, kNearest), 0x80000000u);
  EXPECT_EQ(low(0x00000001, kTruncate), 0x00000000u);
  // A carry runs into the exponent, and out of the largest one into infinity.
  EXPECT_EQ(low(0x3fffffff, kNearest), 0x40000000u);
  EXPECT_EQ(low(0x7f7fffff, kNearest), 0x7f800000u);
  EXPECT_EQ(low(0xff7fffff, kNearest), 0xff800000u);
  EXPECT_EQ(low(0x7f7fffff, kTruncate), 0x7f7fe000u);
}

// Of the two neighbours with 10 bits of mantissa: the one below in magnitude, or the nearer one,
// the even one in a tie.
TEST(TransQuantParam, RoundsLikeASearchOverTheNeighbours) {
  std::mt19937 random(5);
  for (int i = 0; i < 20000; ++i) {
    std::uint32_t bits = random();
    if (i % 4 == 0) bits = (bits & ~0x1fffu) | 0x1000u;  // a tie
    const std::uint32_t exponent = bits >> 23 & 0xff;
    if (exponent == 0 || exponent >= 0xfe) continue;
    const std::uint32_t below = bits & ~0x1fffu, above = below + 0x2000;
    const double value = std::bit_cast<float>(bits), low = std::bit_cast<float>(below),
                 high = std::bit_cast<float>(above);
    const double down = std::fabs(value - low), up = std::fabs(value - high);
    const bool take_above = up < down || (up == down && (above >> 13) % 2 == 0);
    const float scale = std::bit_cast<float>(bits);
    ASSERT_EQ(static_cast<std::uint32_t>(word(scale)), below) << std::hex << bits;
    ASSERT_EQ(static_cast<std::uint32_t>(word(scale, {}, kNearest)), take_above ? above : below)
        << std::hex << bits;
  }
}

TEST(TransQuantParam, OneElementStandsForAll) {
  const float four[] = {1, -2.5f, 0.1f, 0.3f}, offsets[] = {5, -1, 300, 2.5f}, one = 1, five = 5;
  std::vector<std::uint64_t> out(4);
  const TensorRef to(out.data(), DType::kUInt64, {4});
  ASSERT_TRUE(
      trans_quant_param({four, DType::kFloat32, {4}}, {&five, DType::kFloat32, {1}}, to).ok());
  EXPECT_THAT(out, ElementsAre(word(1, 5), word(-2.5f, 5), word(0.1f, 5), word(0.3f, 5)));
  ASSERT_TRUE(
      trans_quant_param({&one, DType::kFloat32, {1}}, {offsets, DType::kFloat32, {4}}, to).ok());
  EXPECT_THAT(out, ElementsAre(word(1, 5), word(1, -1), word(1, 300), word(1, 2.5f)));
  ASSERT_TRUE(
      trans_quant_param({four, DType::kFloat32, {4}}, {offsets, DType::kFloat32, {4}}, to).ok());
  EXPECT_THAT(out, ElementsAre(word(1, 5), word(-2.5f, -1), word(0.1f, 300), word(0.3f, 2.5f)));
}

TEST(TransQuantParam, TakesMatricesOfOneRowStridesAndSignedOutputs) {
  const float scales[] = {1, 99, 0.1f, 99, -2.5f};
  const std::int64_t vector[] = {3}, by_two[] = {2}, row[] = {1, 3}, row_by_two[] = {77, 2};
  for (const DType dtype : {DType::kUInt64, DType::kInt64})
    for (const bool matrix : {false, true}) {
      std::vector<std::uint64_t> out(7, 0xdead);
      const ConstTensorRef scale = matrix ? ConstTensorRef(scales, DType::kFloat32, row, row_by_two)
                                          : ConstTensorRef(scales, DType::kFloat32, vector, by_two);
      const std::int64_t backwards[] = {-3};
      const TensorRef to = matrix ? TensorRef(out.data(), dtype, row, row_by_two)
                                  : TensorRef(out.data() + 6, dtype, vector, backwards);
      ASSERT_TRUE(trans_quant_param(scale, {}, to).ok());
      if (matrix)
        EXPECT_THAT(out,
                    ElementsAre(word(1), 0xdead, word(0.1f), 0xdead, word(-2.5f), 0xdead, 0xdead));
      else
        EXPECT_THAT(out,
                    ElementsAre(word(-2.5f), 0xdead, 0xdead, word(0.1f), 0xdead, 0xdead, word(1)));
    }
  // Memory need not be aligned.
  alignas(8) std::byte bytes[4 + 1 + 8 + 3] = {};
  const float scale = 0.1f;
  std::memcpy(bytes + 1, &scale, 4);
  ASSERT_TRUE(
      trans_quant_param({bytes + 1, DType::kFloat32, {1}}, {}, {bytes + 6, DType::kInt64, {1, 1}})
          .ok());
  std::uint64_t out = 0;
  std::memcpy(&out, bytes + 6, 8);
  EXPECT_EQ(out, word(0.1f));
}

TEST(TransQuantParam, RefusesAndWritesNothing) {
  std::vector<float> memory(64, 1);
  std::vector<std::uint64_t> words(64, 0xdead);
  const float* data = memory.data();
  const ConstTensorRef scale(data, DType::kFloat32, {4}), none;
  const TensorRef out(words.data(), DType::kUInt64, {4});
  const auto refusal = [&](const ConstTensorRef& s, const ConstTensorRef& o, const TensorRef& to,
                           QuantParamRound round = kTruncate) {
    const Status status = trans_quant_param(s, o, to, round);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  EXPECT_EQ(refusal({}, none, out), "trans_quant_param: scale is missing");
  EXPECT_EQ(refusal(scale, none, {}), "trans_quant_param: out is missing");
  EXPECT_EQ(refusal({nullptr, DType::kFloat32, {4}}, none, out),
            "trans_quant_param: scale has no memory");
  EXPECT_EQ(refusal({data, DType::kFloat16, {4}}, none, out),
            "trans_quant_param: scale is float16 but must be float32");
  EXPECT_EQ(refusal(scale, {data, DType::kInt32, {4}}, out),
            "trans_quant_param: offset is int32 but must be float32");
  EXPECT_EQ(refusal(scale, none, {words.data(), DType::kInt32, {4}}),
            "trans_quant_param: out is int32 but must be uint64 or int64");
  EXPECT_EQ(refusal({data, DType::kFloat32, {2, 4}}, none, out),
            "trans_quant_param: scale is float32 (2, 4) but must be (t) or (1, t)");
  EXPECT_THAT(refusal(scale, {data, DType::kFloat32, {1, 1, 4}}, out),
              HasSubstr("offset is float32 (1, 1, 4) but must be (t) or (1, t)"));
  EXPECT_THAT(refusal(scale, none, {words.data(), DType::kUInt64, {2, 2}}),
              HasSubstr("out is uint64 (2, 2) but must be"));
  EXPECT_THAT(refusal({data, DType::kFloat32, std::initializer_list<std::int64_t>{}}, none, out),
              HasSubstr("scale is float32 () but must be"));
  EXPECT_EQ(refusal({data, DType::kFloat32, {0}}, none, out),
            "trans_quant_param: scale is (0) but must have at least one element");
  EXPECT_THAT(refusal(scale, {data, DType::kFloat32, {1, 0}}, out),
              HasSubstr("offset is (1, 0) but must have at least one element"));
  EXPECT_EQ(refusal(scale, {data, DType::kFloat32, {1, 3}}, out),
            "trans_quant_param: scale is (4) but offset is (1, 3); give both the same length, or "
            "one of them one element");
  EXPECT_EQ(refusal(scale, none, {words.data(), DType::kUInt64, {5}}),
            "trans_quant_param: out is (5) but must be (4) or (1, 4)");
  EXPECT_EQ(refusal({data, DType::kFloat32, {1}}, scale, {words.data(), DType::kUInt64, {1}}),
            "trans_quant_param: out is (1) but must be (4) or (1, 4)");
  const std::int64_t dims[] = {4}, strides[] = {0};
  EXPECT_EQ(refusal(scale, none, {words.data(), DType::kUInt64, dims, strides}),
            "trans_quant_param: out has stride 0 over 4 elements; give it memory for each of them");
  EXPECT_EQ(refusal({words.data() + 3, DType::kFloat32, {4}}, none, out),
            "trans_quant_param: scale and out overlap in memory; give out its own");
  EXPECT_EQ(refusal(scale, {words.data(), DType::kFloat32, {1}}, out),
            "trans_quant_param: offset and out overlap in memory; give out its own");
  EXPECT_EQ(refusal(scale, none, out, static_cast<QuantParamRound>(2)),
            "trans_quant_param: round is 2 but must be 0 (truncate) or 1 (nearest)");
  EXPECT_THAT(words, ::testing::Each(0xdead));
}

}  // namespace
}  // namespace weft::testing
