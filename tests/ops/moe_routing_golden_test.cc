// SPDX-License-Identifier: Apache-2.0
// Small calls worked out by hand, the three operators as a chain, and values that are refused when
// a call runs.
#include <gmock/gmock.h>

#include <array>

#include "moe_routing_case.h"
#include "ops/moe_routing/stable_sort.h"

namespace weft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
constexpr DType kF32 = DType::kFloat32, kI32 = DType::kInt32;

// Two tokens, a = (1, 2) and b = (3, 4), with experts 1, 0 and 1, 2.
struct Two {
  std::array<float, 4> x = {1, 2, 3, 4};
  std::array<std::int32_t, 4> rows = {0, 2, 1, 3}, ids = {1, 0, 1, 2};
  std::array<float, 8> expanded{};
  std::array<std::int32_t, 4> expanded_rows{}, expanded_ids{};
  MoeInitRoutingArgs args() {
    return {.x = {x.data(), kF32, {2, 2}},
            .row_idx = {rows.data(), kI32, {2, 2}},
            .expert_idx = {ids.data(), kI32, {2, 2}},
            .active_num = 2,
            .expanded_x = {expanded.data(), kF32, {4, 2}},
            .expanded_row_idx = {expanded_rows.data(), kI32, {4}},
            .expanded_expert_idx = {expanded_ids.data(), kI32, {4}}};
  }
};

TEST(MoeRoutingGolden, InitRouting) {
  Two two;
  ASSERT_TRUE(moe_init_routing(context_of(1), two.args()).ok());
  EXPECT_THAT(two.expanded_ids, ElementsAre(0, 1, 1, 2));
  EXPECT_THAT(two.expanded_rows, ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(two.expanded, ElementsAre(1, 2, 1, 2, 3, 4, 3, 4));
}

TEST(MoeRoutingGolden, FewerActiveTokensCopyFewerRows) {
  Two two;
  MoeInitRoutingArgs args = two.args();
  args.active_num = 1;
  args.expanded_x = {two.expanded.data(), kF32, {2, 2}};
  ASSERT_TRUE(moe_init_routing(context_of(1), args).ok());
  EXPECT_THAT(two.expanded_rows, ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(two.expanded, ElementsAre(1, 2, 1, 2, 0, 0, 0, 0));
}

// What a number that comes twice leaves out isn't written.
TEST(MoeRoutingGolden, RowIdxThatIsNoPermutation) {
  Two two;
  two.rows = {1, 1, 1, 0};
  two.expanded_rows.fill(77);
  ASSERT_TRUE(moe_init_routing(context_of(1), two.args()).ok());
  EXPECT_THAT(two.expanded_rows, ElementsAre(3, 2, 77, 77));
  EXPECT_THAT(two.expanded, ElementsAre(3, 4, 3, 4, 3, 4, 1, 2));
}

TEST(MoeRoutingGolden, RowIdxOutOfRangeWritesNothing) {
  for (const std::int32_t wrong : {-1, 4, INT32_MIN, INT32_MAX}) {
    Two two;
    two.rows[2] = wrong;
    const Status status = moe_init_routing(context_of(1), two.args());
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(),
              "moe_init_routing: row_idx has " + std::to_string(wrong) +
                  " as its number 2 but must have numbers from 0 to 3, places in expanded_row_idx; "
                  "pass the row_idx of moe_gating_topk_softmax");
    EXPECT_THAT(two.expanded_ids, ElementsAre(0, 0, 0, 0));
    EXPECT_THAT(two.expanded_rows, ElementsAre(0, 0, 0, 0));
    EXPECT_THAT(two.expanded, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  }
}

TEST(MoeRoutingGolden, Gating) {
  std::array<float, 8> x = {1, 2, 2, 0, 5, 5, 5, 5};
  std::array<bool, 2> finished = {false, true};
  std::array<float, 6> y{};
  std::array<std::int32_t, 6> experts{}, rows{};
  MoeGatingTopkSoftmaxArgs args = {.x = {x.data(), kF32, {2, 4}},
                                   .finished = {finished.data(), DType::kBool, {2}},
                                   .k = 3,
                                   .y = {y.data(), kF32, {2, 3}},
                                   .expert_idx = {experts.data(), kI32, {2, 3}},
                                   .row_idx = {rows.data(), kI32, {2, 3}}};
  ASSERT_TRUE(moe_gating_topk_softmax(context_of(1), args).ok());
  EXPECT_THAT(experts, ElementsAre(1, 2, 0, 4, 4, 4));
  EXPECT_THAT(rows, ElementsAre(0, 2, 4, 1, 3, 5));
  const double sum = 2 + std::exp(-1) + std::exp(-2);
  EXPECT_NEAR(y[0], 1 / sum, 1e-7);
  EXPECT_EQ(y[1], y[0]);
  EXPECT_NEAR(y[2], std::exp(-1) / sum, 1e-7);
  EXPECT_THAT(std::span(y).last(3), ElementsAre(0.25f, 0.25f, 0.25f));
  args.finished = {};
  ASSERT_TRUE(moe_gating_topk_softmax(context_of(1), args).ok());
  EXPECT_THAT(experts, ElementsAre(1, 2, 0, 0, 1, 2));
}

// Rows r0 … r3 of 1, 10, 100, 1000; row-major, with a row that was dropped, its bias with it.
TEST(MoeRoutingGolden, Finalize) {
  std::array<float, 4> rows = {1, 10, 100, 1000};
  std::array<std::int32_t, 4> places = {1, 0, 2, 3}, ids = {1, 0, 1, 77};
  std::array<float, 2> bias = {0.25f, 0.5f}, out{};
  std::array<float, 4> scales = {1, 2, 3, 4};
  MoeFinalizeRoutingArgs args = {.expanded_x = {rows.data(), kF32, {4, 1}},
                                 .expanded_row_idx = {places.data(), kI32, {4}},
                                 .order = ExpandedRowOrder::kRowMajor,
                                 .out = {out.data(), kF32, {2, 1}}};
  ASSERT_TRUE(moe_finalize_routing(context_of(1), args).ok());
  EXPECT_THAT(out, ElementsAre(11, 1100));
  args.order = ExpandedRowOrder::kColumnMajor;
  ASSERT_TRUE(moe_finalize_routing(context_of(1), args).ok());
  EXPECT_THAT(out, ElementsAre(110, 1001));
  args.order = ExpandedRowOrder::kRowMajor;
  args.bias = {bias.data(), kF32, {2, 1}};
  args.expert_idx = {ids.data(), kI32, {2, 2}};
  args.scales = {scales.data(), kF32, {2, 2}};
  Status status = moe_finalize_routing(context_of(1), args);
  EXPECT_THAT(status.message(), HasSubstr("expert_idx has 77 at (1, 1) but must have 0 to 1"));
  EXPECT_THAT(out, ElementsAre(110, 1001));
  places[3] = -1;  // nobody looks at its expert
  ASSERT_TRUE(moe_finalize_routing(context_of(1), args).ok());
  EXPECT_THAT(out, ElementsAre(10.5f + 2 * 1.25f, 3 * 100.5f));
  for (const std::int32_t wrong : {-2, 4}) {
    places[3] = wrong;
    out.fill(-7);
    status = moe_finalize_routing(context_of(1), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("expanded_row_idx has " + std::to_string(wrong) +
                                            " as its number 3 but must have -1 (no row) to 3"));
    EXPECT_THAT(out, ElementsAre(-7, -7));
  }
}

// float16 rounds each sum: 2048 + 1 + 1 stays 2048 there, and would be 2050 if rounded once.
TEST(MoeRoutingGolden, WhereFinalizeRounds) {
  std::array<std::int32_t, 2> places = {0, 1};
  const auto sum_of = [&](DType type, std::uint16_t base, std::uint16_t one) {
    std::array<std::uint16_t, 2> rows = {one, one};
    std::array<std::uint16_t, 1> x1 = {base}, out{};
    EXPECT_TRUE(moe_finalize_routing(context_of(1), {.expanded_x = {rows.data(), type, {2, 1}},
                                                     .expanded_row_idx = {places.data(), kI32, {2}},
                                                     .x1 = {x1.data(), type, {1, 1}},
                                                     .out = {out.data(), type, {1, 1}}})
                    .ok());
    return out[0];
  };
  EXPECT_EQ(sum_of(DType::kFloat16, 0x6800, 0x3c00), 0x6800);   // 2048 + 1 + 1
  EXPECT_EQ(sum_of(DType::kBFloat16, 0x4380, 0x3f80), 0x4381);  // 256 + 1 + 1 = 258
}

// With every row given back as it came and the gates as scales, a token comes back times the sum of
// its gates.
TEST(MoeRoutingGolden, Chain) {
  constexpr std::int64_t kN = 37, kE = 24, kK = 6, kH = 50;
  Random random(seed_of_this_run());
  const auto floats = [&](std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = static_cast<float>(random.normal(1));
    return values;
  };
  std::vector<float> logits = floats(kN * kE), x = floats(kN * kH), y(kN * kK);
  std::vector<float> expanded(kN * kK * kH), out(kN * kH);
  std::vector<std::int32_t> ids(kN * kK), rows(kN * kK), places(kN * kK), sorted(kN * kK);
  Context& context = context_of(3);
  ASSERT_TRUE(moe_gating_topk_softmax(context, {.x = {logits.data(), kF32, {kN, kE}},
                                                .k = kK,
                                                .y = {y.data(), kF32, {kN, kK}},
                                                .expert_idx = {ids.data(), kI32, {kN, kK}},
                                                .row_idx = {rows.data(), kI32, {kN, kK}}})
                  .ok());
  ASSERT_TRUE(moe_init_routing(context, {.x = {x.data(), kF32, {kN, kH}},
                                         .row_idx = {rows.data(), kI32, {kN, kK}},
                                         .expert_idx = {ids.data(), kI32, {kN, kK}},
                                         .active_num = kN,
                                         .expanded_x = {expanded.data(), kF32, {kN * kK, kH}},
                                         .expanded_row_idx = {places.data(), kI32, {kN * kK}},
                                         .expanded_expert_idx = {sorted.data(), kI32, {kN * kK}}})
                  .ok());
  EXPECT_TRUE(std::is_sorted(sorted.begin(), sorted.end()));
  ASSERT_TRUE(moe_finalize_routing(context, {.expanded_x = {expanded.data(), kF32, {kN * kK, kH}},
                                             .expanded_row_idx = {places.data(), kI32, {kN * kK}},
                                             .scales = {y.data(), kF32, {kN, kK}},
                                             .out = {out.data(), kF32, {kN, kH}}})
                  .ok());
  for (std::size_t i = 0; i < kN; ++i)
    for (std::size_t h = 0; h < kH; ++h) {
      float sum = 0;  // as finalize adds
      for (std::size_t j = 0; j < kK; ++j) {
        const float term = x[i * kH + h] * y[i * kK + j];
        sum = j == 0 ? term : sum + term;
      }
      ASSERT_EQ(out[i * kH + h], sum) << i << " " << h;
    }
}

// Ids that differ in any bit, equal ones in their order.
TEST(MoeRoutingSort, AnyIds) {
  Random random(seed_of_this_run());
  for (const std::int64_t count : {0, 1, 2, 3, 100, 5000})
    for (int kind = 0; kind < 6; ++kind) {
      std::vector<ops::IdAndPayload> items(static_cast<std::size_t>(count)), other(items.size());
      for (std::size_t i = 0; i < items.size(); ++i) {
        const auto any = static_cast<std::int32_t>(random.engine()());
        const std::int32_t ids[] = {7,
                                    static_cast<std::int32_t>(random.below(2048)),
                                    static_cast<std::int32_t>(random.below(4)) - 2,
                                    any,
                                    random.one_in(2) ? INT32_MIN : INT32_MAX,
                                    any >> (any & 31)};
        items[i] = {ids[kind], static_cast<std::int32_t>(i)};
      }
      auto want = items;
      std::ranges::stable_sort(want, {}, &ops::IdAndPayload::id);
      const ops::IdAndPayload* got = ops::stable_sort_by_id(items.data(), other.data(), count);
      for (std::size_t i = 0; i < want.size(); ++i) {
        ASSERT_EQ(got[i].id, want[i].id) << i << " of " << count << ", kind " << kind;
        ASSERT_EQ(got[i].payload, want[i].payload) << i << " of " << count << ", kind " << kind;
      }
    }
}

}  // namespace
}  // namespace weft::testing
