// SPDX-License-Identifier: Apache-2.0
// One failing call per rule of plan() about what is given, ranks and dtypes, with the text a user
// sees; and which of several broken rules counts.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ffn_calls.h"

namespace weft::ops::testing {
namespace {

// In the order in which they are looked at.
const std::vector<FfnRule>& dtype_rules() {
  static const std::vector<FfnRule> rules = {
      {"no_x", floats, [](Args& a) { a.x = {}; }, Rule::kMissing, "x is missing"},
      {"no_weight1", floats, [](Args& a) { a.weight1 = {}; }, Rule::kMissing, "weight1 is missing"},
      {"no_weight2", floats, [](Args& a) { a.weight2 = {}; }, Rule::kMissing, "weight2 is missing"},
      {"no_y", floats, [](Args& a) { a.y = {}; }, Rule::kMissing, "y is missing"},
      {"rank_0", floats, [](Args& a) { a.bias1 = strided(kF16, {}, {}); }, Rule::kNoAxes,
       "bias1 has no dimensions"},
      {"negative", floats,
       [](Args& a) {
         a.x = strided(kF16, {2, -3, 8}, {24, 8, 1});
       },
       Rule::kShape, "x is (2, -3, 8) but no extent can be negative"},
      {"y_rank", floats,
       [](Args& a) {
         a.y = {nullptr, kF16, {6, 10}};
       },
       Rule::kRank, "y is (6, 10) but must have as many axes as x, (2, 3, 8)"},
      {"x_rank", floats,
       [](Args& a) {
         a.x = {nullptr, kF16, {8}};
         a.y = {nullptr, kF16, {10}};
       },
       Rule::kRank, "x is (8) but must have 2 to 8 axes"},
      {"weight1_rank", floats,
       [](Args& a) {
         a.weight1 = {nullptr, kF16, {1, 8, 12}};
       },
       Rule::kRank, "weight1 has 3 axes but must have 2 without expert_tokens"},
      {"weight2_rank", with_experts,
       [](Args& a) {
         a.weight2 = {nullptr, kF16, {12, 10}};
       },
       Rule::kRank, "weight2 has 2 axes but must have 3 with expert_tokens"},
      {"weight2_rank_1", floats,
       [](Args& a) {
         a.weight2 = {nullptr, kF16, {10}};
       },
       Rule::kRank, "weight2 has 1 axes but must have 2 without expert_tokens"},
      {"expert_tokens_rank", with_experts,
       [](Args& a) {
         a.expert_tokens = {nullptr, kI64, {3, 1}};
       },
       Rule::kRank, "expert_tokens is (3, 1) but must be (experts)"},
      {"weights_differ", floats,
       [](Args& a) {
         a.weight2 = {nullptr, kBf16, {12, 10}};
       },
       Rule::kDtype, "weight1 is float16 but weight2 is bfloat16; they must be the same"},
      {"no_such_row", floats,
       [](Args& a) {
         a.x = {nullptr, kBf16, {2, 3, 8}};
       },
       Rule::kDtype,
       "there is no row for x bfloat16 with weights float16; use float16 or bfloat16 for all, int8 "
       "for all, or float16 / bfloat16 x with int8 / int4 weights"},
      {"int4_with_int8_x", from_int4,
       [](Args& a) {
         a.x = {nullptr, kI8, {2, 3, 8}};
       },
       Rule::kDtype,
       "there is no row for x int8 with weights int4; use float16 or bfloat16 for all, int8 for "
       "all, or float16 / bfloat16 x with int8 / int4 weights"},
      {"y_dtype", floats,
       [](Args& a) {
         a.y = {nullptr, kF32, {2, 3, 10}};
       },
       Rule::kDtype, "y is float32 but must be float16 or bfloat16"},
      {"y_like_x", floats,
       [](Args& a) {
         a.y = {nullptr, kBf16, {2, 3, 10}};
       },
       Rule::kDtype, "y is bfloat16 but must be float16 like x"},
      {"no_scale", quant, [](Args& a) { a.scale = {}; }, Rule::kDtype,
       "scale is missing; int8 x and weights need one"},
      {"no_offset", quant, [](Args& a) { a.offset = {}; }, Rule::kDtype,
       "offset is missing; int8 x and weights need one"},
      {"no_deq_scale1", quant, [](Args& a) { a.deq_scale1 = {}; }, Rule::kDtype,
       "deq_scale1 is missing; int8 x and weights need one"},
      {"no_deq_scale2", quant, [](Args& a) { a.deq_scale2 = {}; }, Rule::kDtype,
       "deq_scale2 is missing; int8 x and weights need one"},
      {"scale_dtype", quant,
       [](Args& a) {
         a.scale = {nullptr, kF16, {1}};
       },
       Rule::kDtype, "scale is float16 but must be float32"},
      {"offset_dtype", quant,
       [](Args& a) {
         a.offset = {nullptr, kI8, {1}};
       },
       Rule::kDtype, "offset is int8 but must be float32"},
      {"deq_scales_differ", quant,
       [](Args& a) {
         a.deq_scale2 = {nullptr, kI64, {10}};
       },
       Rule::kDtype, "deq_scale1 is uint64 but deq_scale2 is int64; they must be the same"},
      {"deq_scale_float16", quant,
       [](Args& a) {
         a.deq_scale1 = {nullptr, kBf16, {12}};
         a.deq_scale2 = {nullptr, kBf16, {10}};
       },
       Rule::kDtype,
       "deq_scale1 is bfloat16 but must be uint64, int64 or float32 when y is float16"},
      {"deq_scale_bfloat16", quant,
       [](Args& a) {
         a.y = {nullptr, kBf16, {2, 3, 10}};
       },
       Rule::kDtype, "deq_scale1 is uint64 but must be bfloat16 when y is bfloat16"},
      {"scale_with_floats", floats,
       [](Args& a) {
         a.scale = {nullptr, kF32, {1}};
       },
       Rule::kDtype, "scale is given, but x is float16 and the weights are float16; leave it out"},
      {"offset_with_floats", bfloats,
       [](Args& a) {
         a.offset = {nullptr, kF32, {1}};
       },
       Rule::kDtype,
       "offset is given, but x is bfloat16 and the weights are bfloat16; leave it out"},
      {"deq_scale1_with_floats", floats,
       [](Args& a) {
         a.deq_scale1 = {nullptr, kF32, {12}};
       },
       Rule::kDtype,
       "deq_scale1 is given, but x is float16 and the weights are float16; leave it out"},
      {"deq_scale2_with_int8_weights", from_int8,
       [](Args& a) {
         a.deq_scale2 = {nullptr, kF32, {10}};
       },
       Rule::kDtype,
       "deq_scale2 is given, but x is float16 and the weights are int8; leave it out"},
      {"no_antiquant_scale1", from_int8, [](Args& a) { a.antiquant_scale1 = {}; }, Rule::kDtype,
       "antiquant_scale1 is missing; int8 weights with float16 x need one"},
      {"no_antiquant_scale2", from_int4, [](Args& a) { a.antiquant_scale2 = {}; }, Rule::kDtype,
       "antiquant_scale2 is missing; int4 weights with float16 x need one"},
      {"antiquant_scale2_dtype", from_int8,
       [](Args& a) {
         a.antiquant_scale2 = {nullptr, kBf16, {3, 10}};
       },
       Rule::kDtype, "antiquant_scale2 is bfloat16 but must be float16 like x"},
      {"antiquant_offset1_dtype", from_int8,
       [](Args& a) {
         a.antiquant_offset1 = {nullptr, kF32, {12}};
       },
       Rule::kDtype, "antiquant_offset1 is float32 but must be float16 like x"},
      {"quant_bias_dtype", quant,
       [](Args& a) {
         a.bias1 = {nullptr, kF16, {12}};
       },
       Rule::kDtype, "bias1 is float16 but must be int32 with int8 x"},
      {"bias_dtype", floats,
       [](Args& a) {
         a.bias2 = {nullptr, kBf16, {10}};
       },
       Rule::kDtype, "bias2 is bfloat16 but must be float16 like x, or float32"},
      {"antiquant_scale_with_floats", floats,
       [](Args& a) {
         a.antiquant_scale2 = {nullptr, kF16, {10}};
       },
       Rule::kDtype,
       "antiquant_scale2 is given, but x is float16 and the weights are float16; leave it out"},
      {"antiquant_offset_with_quant", quant,
       [](Args& a) {
         a.antiquant_offset1 = {nullptr, kF16, {12}};
       },
       Rule::kDtype,
       "antiquant_offset1 is given, but x is int8 and the weights are int8; leave it out"},
      {"expert_tokens_dtype", with_experts,
       [](Args& a) {
         a.expert_tokens = {nullptr, kI32, {3}};
       },
       Rule::kDtype, "expert_tokens is int32 but must be int64"},
      {"inner_precise", bfloats, [](Args& a) { a.inner_precise = InnerPrecise::kHighPerformance; },
       Rule::kInnerPrecise,
       "inner_precise is 1 (high performance) but must be 0 with bfloat16: the first product would "
       "be rounded to float16"},

  };
  return rules;
}

class FfnDTypeRule : public ::testing::TestWithParam<std::size_t> {};

TEST_P(FfnDTypeRule, SaysWhatIsWrong) { expect_refused(dtype_rules()[GetParam()]); }

INSTANTIATE_TEST_SUITE_P(All, FfnDTypeRule, ::testing::Range<std::size_t>(0, dtype_rules().size()),
                         [](const auto& info) { return dtype_rules()[info.param].name; });

// One rule of each kind, in the order of the contract: of any two the first counts. A limit comes
// after everything else.
TEST(FfnPlanRules, TheFirstBrokenOneCounts) {
  struct Step {
    std::function<void(Args&)> breaks;
    std::string message;
  };
  const std::vector<Step> steps = {
      {[](Args& a) { a.weight2 = {}; }, "weight2 is missing"},
      {[](Args& a) { a.bias2 = strided(kF16, {-1}, {1}); },
       "bias2 is (-1) but no extent can be negative"},
      {[](Args& a) {
         a.y = {nullptr, kF16, {6, 10}};
       },
       "y is (6, 10) but must have as many axes as x, (2, 3, 8)"},
      {[](Args& a) {
         a.antiquant_offset2 = {nullptr, kBf16, {3, 10}};
       },
       "antiquant_offset2 is bfloat16 but must be float16 like x"},
      {[](Args& a) {
         a.weight1 = {nullptr, kI8, {8, 14}};
       },
       "weight1 has n = 14 but weight2 has k = 12; they must be the same with gelu"},
      {[](Args& a) {
         a.bias1 = {nullptr, kF16, {11}};
       },
       "bias1 is (11) but must be (12)"},
      {[](Args& a) {
         a.antiquant_scale1 = {nullptr, kF16, {3, 12}};
       },
       "antiquant_scale1 is (3, 12), 3 groups, but weights of k = 8 need a number of groups that "
       "divides it"},
      {[](Args& a) {
         a.y = strided(kF16, {2, 3, 10}, {0, 0, 1});
       },
       "y has strides (0, 0, 1) that put several of its elements at the same place; make it "
       "contiguous"},
  };
  for (std::size_t first = 0; first < steps.size(); ++first)
    for (std::size_t second = first; second < steps.size(); ++second) {
      Args a = from_int8();
      steps[second].breaks(a);
      steps[first].breaks(a);
      EXPECT_EQ(check_plan(a).message(), "ffn: " + steps[first].message);
    }
}

TEST(FfnPlanRules, ALimitComesAfterEverythingElse) {
  Args a = quant();
  a.x = {nullptr, kI8, {2, 3, 65536}};
  a.weight1 = {nullptr, kI8, {65536, 12}};
  a.offset = {nullptr, kF32, {12}};
  EXPECT_EQ(check_plan(a).message(), "ffn: offset is (12) but must be (1)");
  a.offset = {nullptr, kF32, {1}};
  a.bias1 = {nullptr, kI32, {11}};
  EXPECT_EQ(check_plan(a).message(), "ffn: bias1 is (11) but must be (12)");
}

}  // namespace
}  // namespace weft::ops::testing
