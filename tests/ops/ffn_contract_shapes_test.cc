// SPDX-License-Identifier: Apache-2.0
// One failing call per rule of plan() about extents and strides, with the text a user sees.
#include <gtest/gtest.h>

#include <vector>

#include "ffn_calls.h"

namespace weft::ops::testing {
namespace {

// In the order in which they are looked at.
const std::vector<FfnRule>& shape_rules() {
  static const std::vector<FfnRule> rules = {
      {"x_depth", floats,
       [](Args& a) {
         a.x = {nullptr, kF16, {2, 3, 9}};
       },
       Rule::kDepth, "the last dimension of x is 9 but weight1 has k = 8"},
      {"inner_depth", floats,
       [](Args& a) {
         a.weight2 = {nullptr, kF16, {11, 10}};
       },
       Rule::kDepth, "weight1 has n = 12 but weight2 has k = 11; they must be the same with gelu"},
      {"gate_depth", gated,
       [](Args& a) {
         a.weight2 = {nullptr, kF16, {12, 10}};
       },
       Rule::kDepth,
       "weight1 has n = 12 and weight2 k = 12, but swiglu needs twice as many columns of weight1 "
       "as rows of weight2"},
      {"gate_odd", gated,
       [](Args& a) {
         a.weight1 = {nullptr, kF16, {8, 13}};
       },
       Rule::kDepth,
       "weight1 has n = 13 and weight2 k = 6, but swiglu needs twice as many columns of weight1 as "
       "rows of weight2"},
      {"experts1", with_experts,
       [](Args& a) {
         a.weight1 = {nullptr, kF16, {2, 8, 12}};
       },
       Rule::kExperts, "weight1 has 2 experts but expert_tokens has 3 values"},
      {"experts2", with_experts,
       [](Args& a) {
         a.weight2 = {nullptr, kF16, {4, 12, 10}};
       },
       Rule::kExperts, "weight2 has 4 experts but expert_tokens has 3 values"},
      {"experts_of_tokens", with_experts,
       [](Args& a) {
         a.expert_tokens = {nullptr, kI64, {0}};
       },
       Rule::kExperts, "weight1 has 3 experts but expert_tokens has 0 values"},
      {"y_shape", floats,
       [](Args& a) {
         a.y = {nullptr, kF16, {2, 3, 8}};
       },
       Rule::kShape,
       "y is (2, 3, 8) but must be x with its last dimension n of weight2: (2, 3, 10)"},
      {"y_rows", floats,
       [](Args& a) {
         a.y = {nullptr, kF16, {3, 2, 10}};
       },
       Rule::kShape,
       "y is (3, 2, 10) but must be x with its last dimension n of weight2: (2, 3, 10)"},
      {"bias1_shape", floats,
       [](Args& a) {
         a.bias1 = {nullptr, kF16, {1, 12}};
       },
       Rule::kBias, "bias1 is (1, 12) but must be (12)"},
      {"bias2_shape", with_experts,
       [](Args& a) {
         a.bias2 = {nullptr, kF16, {10}};
       },
       Rule::kBias, "bias2 is (10) but must be (3, 10)"},
      {"deq_scale1_shape", quant,
       [](Args& a) {
         a.deq_scale1 = {nullptr, kU64, {1}};
       },
       Rule::kScaleShape, "deq_scale1 is (1) but must be (12)"},
      {"deq_scale2_shape", quant_experts,
       [](Args& a) {
         a.deq_scale2 = {nullptr, kF32, {3, 12}};
       },
       Rule::kScaleShape, "deq_scale2 is (3, 12) but must be (3, 10)"},
      {"scale_shape", quant,
       [](Args& a) {
         a.scale = {nullptr, kF32, {10}};
       },
       Rule::kScaleShape, "scale is (10) but must be (1) or (12)"},
      {"scale_shape_of_experts", quant_experts,
       [](Args& a) {
         a.scale = {nullptr, kF32, {12}};
       },
       Rule::kScaleShape, "scale is (12) but must be (3) or (3, 12)"},
      {"offset_shape", quant,
       [](Args& a) {
         a.offset = {nullptr, kF32, {12}};
       },
       Rule::kScaleShape, "offset is (12) but must be (1)"},
      {"offset_shape_of_experts", quant_experts,
       [](Args& a) {
         a.offset = {nullptr, kF32, {3, 12}};
       },
       Rule::kScaleShape, "offset is (3, 12) but must be (3)"},
      {"antiquant_scale1_shape", from_int8,
       [](Args& a) {
         a.antiquant_scale1 = {nullptr, kF16, {10}};
       },
       Rule::kScaleShape, "antiquant_scale1 is (10) but must be (1), (12) or with groups (1, 12)"},
      {"antiquant_scale2_shape", int4_experts,
       [](Args& a) {
         a.antiquant_scale2 = {nullptr, kF16, {3, 2, 12}};
       },
       Rule::kScaleShape,
       "antiquant_scale2 is (3, 2, 12) but must be (3, 1), (3, 10) or with groups (3, 2, 10)"},
      {"groups", from_int8,
       [](Args& a) {
         a.antiquant_scale2 = {nullptr, kF16, {5, 10}};
       },
       Rule::kGroupSize,
       "antiquant_scale2 is (5, 10), 5 groups, but weights of k = 12 need a number of groups that "
       "divides it"},
      {"no_groups", from_int8,
       [](Args& a) {
         a.antiquant_scale2 = {nullptr, kF16, {0, 10}};
       },
       Rule::kGroupSize,
       "antiquant_scale2 is (0, 10), 0 groups, but weights of k = 12 need a number of groups that "
       "divides it"},
      {"antiquant_offset_shape", from_int8,
       [](Args& a) {
         a.antiquant_offset2 = {nullptr, kF16, {10}};
       },
       Rule::kScaleShape, "antiquant_offset2 is (10) but must be (3, 10) like antiquant_scale2"},
      {"x_fractal_nz", floats,
       [](Args& a) { a.weight1 = ConstTensorRef::fractal_nz(nullptr, kF16, 8, 12); }, Rule::kFormat,
       "weight1 is FRACTAL_NZ but must lie as its strides say"},
      {"int4_scattered", from_int4,
       [](Args& a) {
         a.weight1 = strided(kI4, {8, 12}, {24, 2});
       },
       Rule::kStrides,
       "weight1 is int4 with strides (24, 2) but one axis must be adjacent: row-major (…, 1) or "
       "the transposed view (1, …); make it contiguous"},
      {"int4_odd", from_int4,
       [](Args& a) {
         a.weight2 = {nullptr, kI4, {12, 9}};
         a.bias2 = {};
         a.y = {nullptr, kF16, {2, 3, 9}};
         a.antiquant_scale2 = {nullptr, kF16, {9}};
         a.antiquant_offset2 = {};
       },
       Rule::kShape,
       "weight2 is int4 with 9 elements along its adjacent axis, but that must be even (two per "
       "byte)"},
      {"int4_odd_experts", int4_experts,
       [](Args& a) {
         a.weight2 = strided(kI4, {3, 12, 10}, {121, 10, 1});
       },
       Rule::kStrides,
       "weight2 is int4 with 121 elements from expert to expert, but that must be even (two per "
       "byte)"},
      {"y_repeats", floats,
       [](Args& a) {
         a.y = strided(kF16, {2, 3, 10}, {0, 10, 1});
       },
       Rule::kStrides,
       "y has strides (0, 10, 1) that put several of its elements at the same place; make it "
       "contiguous"},
      {"too_many_rows", floats,
       [](Args& a) {
         a.x = {nullptr, kF16, {2, 1LL << 30, 8}};
         a.y = {nullptr, kF16, {2, 1LL << 30, 10}};
       },
       Rule::kLimit,
       "M, K1, N1, K2, N2 are 2147483648, 8, 12, 12, 10 but each must be at most 2147483647"},
      {"too_many_experts", with_experts,
       [](Args& a) {
         constexpr std::int64_t kExperts = 65537;
         a.weight1 = strided(kF16, {kExperts, 8, 12}, {0, 12, 1});
         a.weight2 = strided(kF16, {kExperts, 12, 10}, {0, 10, 1});
         a.expert_tokens = strided(kI64, {kExperts}, {1});
         a.bias1 = a.bias2 = {};
       },
       Rule::kLimit, "expert_tokens has 65537 values but must have at most 65536"},
      {"int8_too_deep", quant,
       [](Args& a) {
         a.x = {nullptr, kI8, {2, 3, 65536}};
         a.weight1 = {nullptr, kI8, {65536, 12}};
       },
       Rule::kLimit,
       "K1 and K2 are 65536 and 12 but must be at most 65535 with int8 x (the sums are int32)"},
      {"too_far", floats,
       [](Args& a) {
         a.x = strided(kF16, {2, 3, 8}, {INT64_MAX, 8, 1});
       },
       Rule::kLimit,
       "x is (2, 3, 8) with strides (9223372036854775807, 8, 1), more than can be addressed"},
  };
  return rules;
}

class FfnShapeRule : public ::testing::TestWithParam<std::size_t> {};

TEST_P(FfnShapeRule, SaysWhatIsWrong) { expect_refused(shape_rules()[GetParam()]); }

INSTANTIATE_TEST_SUITE_P(All, FfnShapeRule, ::testing::Range<std::size_t>(0, shape_rules().size()),
                         [](const auto& info) { return shape_rules()[info.param].name; });

}  // namespace
}  // namespace weft::ops::testing
