// SPDX-License-Identifier: Apache-2.0
// One failing call per rule of moe_combine and moe_combine_add_rmsnorm, with the text a user sees;
// and what is legal.
#include <gmock/gmock.h>

#include "moe_contract.h"

namespace weft::ops::testing {
namespace {

using Rules = std::vector<MoeRule<Combine>>;

const Rules& missing_and_dtypes() {
  static const Rules rules = {
      {"no_expand_x", back, [](Combine& a) { a.expand_x = {}; }, Rule::kMissing,
       "expand_x is missing"},
      {"no_expert_ids", back, [](Combine& a) { a.expert_ids = {}; }, Rule::kMissing,
       "expert_ids is missing"},
      {"no_assist", back, [](Combine& a) { a.assist_info_for_combine = {}; }, Rule::kMissing,
       "assist_info_for_combine is missing"},
      {"no_counts", back, [](Combine& a) { a.ep_send_counts = {}; }, Rule::kMissing,
       "ep_send_counts is missing"},
      {"no_expert_scales", back, [](Combine& a) { a.expert_scales = {}; }, Rule::kMissing,
       "expert_scales is missing"},
      {"no_x", back, [](Combine& a) { a.x = {}; }, Rule::kMissing, "x is missing"},
      {"no_tp_counts", back_in_pairs, [](Combine& a) { a.tp_send_counts = {}; }, Rule::kShape,
       "tp_send_counts is missing; options.tp_group needs it"},
      {"no_ori_x", with_all, [](Combine& a) { a.ori_x = {}; }, Rule::kShape,
       "ori_x is missing; copy and const experts need it"},
      {"no_alpha", with_all, [](Combine& a) { a.const_expert_alpha_2 = {}; }, Rule::kShape,
       "const_expert_alpha_1, const_expert_alpha_2 or const_expert_v is missing; 2 const experts "
       "need them"},
      {"no_v", with_all, [](Combine& a) { a.const_expert_v = {}; }, Rule::kShape,
       "const_expert_alpha_1, const_expert_alpha_2 or const_expert_v is missing; 2 const experts "
       "need them"},
      {"expand_x_dtype", back,
       [](Combine& a) {
         a.expand_x = tensor(kI8, {12, 16});
       },
       Rule::kDtype, "expand_x is int8 but must be float16 or bfloat16"},
      {"expert_ids_dtype", back,
       [](Combine& a) {
         a.expert_ids = tensor(kI64, {5, 2});
       },
       Rule::kDtype, "expert_ids is int64 but must be int32"},
      {"assist_dtype", back, [](Combine& a) { a.assist_info_for_combine = tensor(kI64, {36}); },
       Rule::kDtype, "assist_info_for_combine is int64 but must be int32"},
      {"counts_dtype", back, [](Combine& a) { a.ep_send_counts = tensor(kI64, {8}); }, Rule::kDtype,
       "ep_send_counts is int64 but must be int32"},
      {"tp_counts_dtype", back_in_pairs, [](Combine& a) { a.tp_send_counts = tensor(kI64, {2}); },
       Rule::kDtype, "tp_send_counts is int64 but must be int32"},
      {"expert_scales_dtype", back,
       [](Combine& a) {
         a.expert_scales = tensor(kBf16, {5, 2});
       },
       Rule::kDtype, "expert_scales is bfloat16 but must be float32"},
      {"mask_dtype", with_all, [](Combine& a) { a.x_active_mask = tensor(kI8, {5}); }, Rule::kDtype,
       "x_active_mask is int8 but must be bool"},
      {"shared_expert_x_dtype", with_all,
       [](Combine& a) {
         a.shared_expert_x = tensor(kF16, {5, 1, 16});
       },
       Rule::kDtype, "shared_expert_x is float16 but must be bfloat16"},
      {"ori_x_dtype", with_all,
       [](Combine& a) {
         a.ori_x = tensor(kF16, {5, 16});
       },
       Rule::kDtype, "ori_x is float16 but must be bfloat16"},
      {"alpha_1_dtype", with_all, [](Combine& a) { a.const_expert_alpha_1 = tensor(kF32, {2}); },
       Rule::kDtype, "const_expert_alpha_1 is float32 but must be bfloat16"},
      {"alpha_2_dtype", with_all, [](Combine& a) { a.const_expert_alpha_2 = tensor(kF32, {2}); },
       Rule::kDtype, "const_expert_alpha_2 is float32 but must be bfloat16"},
      {"v_dtype", with_all,
       [](Combine& a) {
         a.const_expert_v = tensor(kF32, {2, 16});
       },
       Rule::kDtype, "const_expert_v is float32 but must be bfloat16"},
      {"x_dtype", back,
       [](Combine& a) {
         a.x = tensor(kF16, {5, 16});
       },
       Rule::kDtype, "x is float16 but must be bfloat16"},
  };
  return rules;
}

const Rules& shapes() {
  static const Rules rules = {
      {"negative", back,
       [](Combine& a) {
         a.expert_scales = strided(kF32, {5, -2}, {2, 1});
       },
       Rule::kShape, "expert_scales is (5, -2) but no extent can be negative"},
      {"no_axes", back, [](Combine& a) { a.ep_send_counts = strided(kI32, {}, {}); }, Rule::kNoAxes,
       "ep_send_counts has no dimensions"},
      {"expand_x_axes", back,
       [](Combine& a) {
         a.expand_x = tensor(kBf16, {12, 1, 16});
       },
       Rule::kRank, "expand_x is (12, 1, 16) but must have 2 axes"},
      {"shared_expert_x_axes", with_all,
       [](Combine& a) { a.shared_expert_x = tensor(kBf16, {80}); }, Rule::kRank,
       "shared_expert_x is (80) but must have 2 or 3 axes"},
      {"alpha_axes", with_all,
       [](Combine& a) {
         a.const_expert_alpha_1 = tensor(kBf16, {2, 1, 16});
       },
       Rule::kRank, "const_expert_alpha_1 is (2, 1, 16) but must have 1 or 2 axes"},
      {"x_axes", back,
       [](Combine& a) {
         a.x = tensor(kBf16, {5, 1, 1, 16});
       },
       Rule::kRank, "x is (5, 1, 1, 16) but must have 2 or 3 axes"},
      {"experts", back, [](Combine& a) { a.experts.moe_expert_num = 0; }, Rule::kExperts,
       "moe_expert_num is 0 but must be 1 to 65536"},
      {"expert_scales", back,
       [](Combine& a) {
         a.expert_scales = tensor(kF32, {5, 3});
       },
       Rule::kShape, "expert_scales is (5, 3) but must be (5, 2)"},
      {"mask", with_all, [](Combine& a) { a.x_active_mask = tensor(kBool, {4}); }, Rule::kShape,
       "x_active_mask is (4) but must be (5) or (5, 2)"},
      {"shared_expert_x", with_all,
       [](Combine& a) {
         a.shared_expert_x = tensor(kBf16, {2, 2, 16});
       },
       Rule::kShape, "shared_expert_x is (2, 2, 16) but must have 5 rows of 16"},
      {"shared_expert_x_and_shared_ranks", with_all,
       [](Combine& a) { a.experts.shared_expert_num = a.experts.shared_expert_rank_num = 1; },
       Rule::kExperts,
       "shared_expert_x is given, but 1 shared experts live on ranks; leave it out"},
      {"ori_x", with_all,
       [](Combine& a) {
         a.ori_x = tensor(kBf16, {4, 16});
       },
       Rule::kShape, "ori_x is (4, 16) but must have 5 rows of 16"},
      {"alpha_1", with_all, [](Combine& a) { a.const_expert_alpha_1 = tensor(kBf16, {3}); },
       Rule::kShape, "const_expert_alpha_1 is (3) but must be (2) or (2, 16)"},
      {"alpha_2", with_all,
       [](Combine& a) {
         a.const_expert_alpha_2 = tensor(kBf16, {2, 15});
       },
       Rule::kShape, "const_expert_alpha_2 is (2, 15) but must be (2) or (2, 16)"},
      {"v", with_all,
       [](Combine& a) {
         a.const_expert_v = tensor(kBf16, {3, 16});
       },
       Rule::kShape, "const_expert_v is (3, 16) but must have 2 rows of 16"},
      {"counts", back, [](Combine& a) { a.ep_send_counts = tensor(kI32, {7}); }, Rule::kShape,
       "ep_send_counts is (7) but must have at least 8 elements"},
      {"tp_counts", back_in_pairs, [](Combine& a) { a.tp_send_counts = tensor(kI32, {1}); },
       Rule::kShape, "tp_send_counts is (1) but must have 2 elements"},
      {"int8_in_pairs", back_in_pairs, [](Combine& a) { a.int8_communication = true; },
       Rule::kExperts,
       "int8_communication is set, but rows do not travel as int8 with TP; leave it out"},
      {"x", back,
       [](Combine& a) {
         a.x = tensor(kBf16, {5, 15});
       },
       Rule::kShape, "x is (5, 15) but must have 5 rows of 16"},
      {"expand_x_strides", back,
       [](Combine& a) {
         a.expand_x = strided(kBf16, {12, 16}, {1, 12});
       },
       Rule::kStrides,
       "expand_x has stride 12 along its rows but their elements must be adjacent (1); make it "
       "contiguous"},
      {"expand_x_in_pairs", back_in_pairs,
       [](Combine& a) {
         a.expand_x = strided(kBf16, {12, 16}, {20, 1});
       },
       Rule::kStrides,
       "expand_x has strides (20, 1) but must be dense with TP; make it contiguous"},
      {"assist_strides", back,
       [](Combine& a) { a.assist_info_for_combine = strided(kI32, {36}, {2}); }, Rule::kStrides,
       "assist_info_for_combine has strides (2) but must be dense; make it contiguous"},
      {"x_overlaps_itself", back,
       [](Combine& a) {
         a.x = strided(kBf16, {5, 16}, {0, 1});
       },
       Rule::kStrides,
       "x has strides (0, 1) that put several of its rows at the same place; make it contiguous"},
  };
  return rules;
}

std::vector<MoeRule<Norm>> norm_rules() {
  return {
      {"of_the_combine", normed, [](Norm& a) { a.combine.expert_ids = {}; }, Rule::kMissing,
       "expert_ids is missing"},
      {"no_residual", normed, [](Norm& a) { a.residual_x = {}; }, Rule::kMissing,
       "residual_x is missing"},
      {"no_gamma", normed, [](Norm& a) { a.gamma = {}; }, Rule::kMissing, "gamma is missing"},
      {"no_y", normed, [](Norm& a) { a.y = {}; }, Rule::kMissing, "y is missing"},
      {"no_rstd", normed, [](Norm& a) { a.rstd = {}; }, Rule::kMissing, "rstd is missing"},
      {"residual_dtype", normed,
       [](Norm& a) {
         a.residual_x = tensor(kF16, {5, 16});
       },
       Rule::kDtype, "residual_x is float16 but must be bfloat16"},
      {"gamma_dtype", normed, [](Norm& a) { a.gamma = tensor(kF32, {16}); }, Rule::kDtype,
       "gamma is float32 but must be bfloat16"},
      {"y_dtype", normed,
       [](Norm& a) {
         a.y = tensor(kF32, {5, 16});
       },
       Rule::kDtype, "y is float32 but must be bfloat16"},
      {"rstd_dtype", normed, [](Norm& a) { a.rstd = tensor(kBf16, {5}); }, Rule::kDtype,
       "rstd is bfloat16 but must be float32"},
      {"gamma_axes", normed,
       [](Norm& a) {
         a.gamma = tensor(kBf16, {1, 16});
       },
       Rule::kRank, "gamma is (1, 16) but must have 1 axes"},
      {"residual_axes", normed, [](Norm& a) { a.residual_x = tensor(kBf16, {80}); }, Rule::kRank,
       "residual_x is (80) but must have 2 or 3 axes"},
      {"residual", normed,
       [](Norm& a) {
         a.residual_x = tensor(kBf16, {4, 16});
       },
       Rule::kShape, "residual_x is (4, 16) but must have 5 rows of 16"},
      {"gamma", normed, [](Norm& a) { a.gamma = tensor(kBf16, {15}); }, Rule::kShape,
       "gamma is (15) but must be (16)"},
      {"y", normed,
       [](Norm& a) {
         a.y = tensor(kBf16, {5, 15});
       },
       Rule::kShape, "y is (5, 15) but must have 5 rows of 16"},
      {"rstd", normed, [](Norm& a) { a.rstd = tensor(kF32, {6}); }, Rule::kShape,
       "rstd is (6) but must have 5 elements"},
      {"y_strides", normed,
       [](Norm& a) {
         a.y = strided(kBf16, {5, 16}, {1, 5});
       },
       Rule::kStrides,
       "y has stride 5 along its rows but their elements must be adjacent (1); make it "
       "contiguous"},
      {"y_overlaps_itself", normed,
       [](Norm& a) {
         a.y = strided(kBf16, {5, 16}, {8, 1});
       },
       Rule::kStrides,
       "y has strides (8, 1) that put several of its rows at the same place; make it contiguous"},
      {"rstd_strides", normed, [](Norm& a) { a.rstd = strided(kF32, {5}, {-1}); }, Rule::kStrides,
       "rstd has strides (-1) but must be dense; make it contiguous"},
  };
}

class MoeCombineRule : public ::testing::TestWithParam<MoeRule<Combine>> {};
class MoeNormRule : public ::testing::TestWithParam<MoeRule<Norm>> {};

TEST_P(MoeCombineRule, SaysWhatIsWrong) { expect_refused(GetParam(), "moe_combine"); }
TEST_P(MoeNormRule, SaysWhatIsWrong) { expect_refused(GetParam(), "moe_combine_add_rmsnorm"); }

std::string name_of(const auto& test) { return test.param.name; }
INSTANTIATE_TEST_SUITE_P(Dtypes, MoeCombineRule, ::testing::ValuesIn(missing_and_dtypes()),
                         name_of<::testing::TestParamInfo<MoeRule<Combine>>>);
INSTANTIATE_TEST_SUITE_P(Shapes, MoeCombineRule, ::testing::ValuesIn(shapes()),
                         name_of<::testing::TestParamInfo<MoeRule<Combine>>>);
INSTANTIATE_TEST_SUITE_P(All, MoeNormRule, ::testing::ValuesIn(norm_rules()),
                         name_of<::testing::TestParamInfo<MoeRule<Norm>>>);

TEST(MoeCombineContract, LegalCalls) {
  for (const Combine& a : {back(), with_all(), back_in_pairs()}) expect_legal(a);
  Combine a = with_all();
  a.const_expert_alpha_1 = a.const_expert_alpha_2 = tensor(kBf16, {2, 16});
  a.int8_communication = true;
  expect_legal(a);
  a.expand_x = strided(kBf16, {12, 16}, {-20, 1});
  a.expert_ids = strided(kI32, {5, 2}, {1, 5});
  a.expert_scales = strided(kF32, {5, 2}, {0, 0});
  a.x_active_mask = strided(kBool, {5, 2}, {-2, 1});
  a.shared_expert_x = strided(kBf16, {5, 16}, {0, 1});
  a.x = strided(kBf16, {5, 16}, {-17, 1});
  expect_legal(a);
  a = back();  // operands of experts that there are none of
  a.ori_x = tensor(kBf16, {5, 16});
  expect_legal(a);
  a = back();  // no rows, no tokens
  a.expand_x = tensor(kBf16, {0, 16});
  a.assist_info_for_combine = tensor(kI32, {0});
  a.expert_ids = tensor(kI32, {0, 2});
  a.expert_scales = tensor(kF32, {0, 2});
  a.x = tensor(kBf16, {0, 16});
  expect_legal(a);

  Norm n = normed();
  expect_legal(n);
  n.gamma = strided(kBf16, {16}, {-3});
  n.combine.x = n.y = tensor(kBf16, {5, 1, 16});
  n.rstd = tensor(kF32, {5, 1, 1});
  expect_legal(n);
}

/// Operands with memory of their own.
class MoeCombineRun : public ::testing::Test {
 protected:
  Norm with_data() {
    Norm n = normed();
    n.combine = with_all();
    for (ConstTensorRef* t :
         {&n.combine.expand_x, &n.combine.expert_ids, &n.combine.assist_info_for_combine,
          &n.combine.ep_send_counts, &n.combine.expert_scales, &n.combine.x_active_mask,
          &n.combine.shared_expert_x, &n.combine.ori_x, &n.combine.const_expert_alpha_1,
          &n.combine.const_expert_alpha_2, &n.combine.const_expert_v, &n.residual_x, &n.gamma})
      *t = t->with_data(take());
    for (TensorRef* t : {&n.combine.x, &n.y, &n.rstd}) *t = t->with_data(take());
    return n;
  }
  char* take() { return memory_.data() + 1024 * taken_++; }
  static Norm planned() {
    Norm n = normed();
    n.combine = with_all();
    return n;
  }
  static std::string message(const Norm& n) { return check_run(planned(), n, kRank).message(); }
  static std::string message(const Combine& a) {
    return check_run(planned().combine, a, kRank).message();
  }

  std::vector<char> memory_ = std::vector<char>(20 * 1024);
  int taken_ = 0;
};

TEST_F(MoeCombineRun, WhatDiffersFromThePlan) {
  const Norm legal = with_data();
  EXPECT_EQ(message(legal), "");
  EXPECT_EQ(message(legal.combine), "");
  Combine a = legal.combine;
  const auto says = [&](const std::string& text) {
    EXPECT_EQ(message(a), "moe_combine (rank 3): " + text);
    a = legal.combine;
  };
  a.shared_expert_x = {};
  says(
      "shared_expert_x is none but bfloat16 (5, 1, 16) was planned; plan again for another layout");
  a.ori_x = a.ori_x.with_data(nullptr);
  says("ori_x has no data (null pointer)");
  a.int8_communication = true;
  says("int8_communication is true but false was planned; plan again");
  a.experts.const_expert_num = 1;
  says("const_expert_num is 1 but 2 was planned; plan again");
  Norm n = legal;
  n.norm_eps = 1e-5f;
  EXPECT_EQ(message(n),
            "moe_combine_add_rmsnorm (rank 3): norm_eps is 1e-05 but 1e-06 was planned; plan "
            "again");
  n = legal;
  n.combine.int8_communication = true;
  EXPECT_EQ(message(n),
            "moe_combine_add_rmsnorm (rank 3): int8_communication is true but false was planned; "
            "plan again");
}

TEST_F(MoeCombineRun, OutputsOverlapNothingButTheResidual) {
  const Norm legal = with_data();
  const auto overlapping = [](TensorRef& output, const ConstTensorRef& other) {
    output = output.with_data(const_cast<void*>(other.data()));
  };
  for (const ConstTensorRef& other :
       {legal.combine.expand_x, legal.combine.expert_ids, legal.combine.ep_send_counts,
        legal.combine.assist_info_for_combine, legal.combine.ori_x, legal.combine.x_active_mask,
        legal.gamma, ConstTensorRef(legal.y), ConstTensorRef(legal.rstd)}) {
    Norm n = legal;
    overlapping(n.combine.x, other);
    EXPECT_THAT(message(n), ::testing::HasSubstr("x overlaps "));
    const bool of_the_norm = other.data() == legal.gamma.data() || other.data() == legal.y.data() ||
                             other.data() == legal.rstd.data();
    EXPECT_THAT(message(n.combine), ::testing::HasSubstr(of_the_norm ? "" : "x overlaps "));
    n = legal;
    if (other.data() != legal.y.data()) {
      overlapping(n.y, other);
      EXPECT_THAT(message(n), ::testing::HasSubstr("y overlaps "));
    }
    n = legal;
    if (other.data() != legal.rstd.data()) {
      overlapping(n.rstd, other);
      EXPECT_THAT(message(n), ::testing::HasSubstr("rstd"));
    }
  }
  Norm n = legal;
  n.residual_x = n.combine.x;  // in place
  EXPECT_EQ(message(n), "");
  n.residual_x = n.y;
  EXPECT_THAT(message(n), ::testing::HasSubstr("y overlaps residual_x"));
  n.residual_x = legal.combine.x.with_data(static_cast<char*>(legal.combine.x.data()) + 2);
  EXPECT_THAT(message(n), ::testing::HasSubstr("x overlaps residual_x"));
}

}  // namespace
}  // namespace weft::ops::testing
