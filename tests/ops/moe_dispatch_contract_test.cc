// SPDX-License-Identifier: Apache-2.0
// One failing call per rule of moe_dispatch, with the text a user sees; and what is legal.
#include <gmock/gmock.h>

#include "moe_contract.h"

namespace weft::ops::testing {
namespace {

using Rules = std::vector<MoeRule<Dispatch>>;

MoeExperts experts(std::int64_t routed, std::int64_t shared, std::int64_t on) {
  return {.moe_expert_num = routed, .shared_expert_num = shared, .shared_expert_rank_num = on};
}

const Rules& missing_and_dtypes() {
  static const Rules rules = {
      {"no_x", rows_of_t, [](Dispatch& a) { a.x = {}; }, Rule::kMissing, "x is missing"},
      {"no_expert_ids", rows_of_t, [](Dispatch& a) { a.expert_ids = {}; }, Rule::kMissing,
       "expert_ids is missing"},
      {"no_expand_x", rows_of_t, [](Dispatch& a) { a.expand_x = {}; }, Rule::kMissing,
       "expand_x is missing"},
      {"no_expert_token_nums", rows_of_t, [](Dispatch& a) { a.expert_token_nums = {}; },
       Rule::kMissing, "expert_token_nums is missing"},
      {"no_ep_recv_counts", rows_of_t, [](Dispatch& a) { a.ep_recv_counts = {}; }, Rule::kMissing,
       "ep_recv_counts is missing"},
      {"no_dynamic_scales", rows_of_int8, [](Dispatch& a) { a.dynamic_scales = {}; },
       Rule::kMissing, "dynamic_scales is missing; an expand_x of int8 needs it"},
      {"no_tp_recv_counts", in_pairs, [](Dispatch& a) { a.tp_recv_counts = {}; }, Rule::kMissing,
       "tp_recv_counts is missing; options.tp_group needs it"},
      {"x_dtype", rows_of_t,
       [](Dispatch& a) {
         a.x = tensor(kF32, {5, 16});
       },
       Rule::kDtype, "x is float32 but must be float16 or bfloat16"},
      {"expand_x_dtype", rows_of_t,
       [](Dispatch& a) {
         a.expand_x = tensor(kF16, {12, 16});
       },
       Rule::kDtype, "expand_x is float16 but must be bfloat16 like x, or int8"},
      {"expert_ids_dtype", rows_of_t,
       [](Dispatch& a) {
         a.expert_ids = tensor(kI64, {5, 2});
       },
       Rule::kDtype, "expert_ids is int64 but must be int32"},
      {"scales_dtype", rows_of_int8,
       [](Dispatch& a) {
         a.scales = tensor(kF16, {8, 16});
       },
       Rule::kDtype, "scales is float16 but must be float32"},
      {"mask_dtype", rows_of_int8,
       [](Dispatch& a) {
         a.x_active_mask = tensor(kI8, {5, 2});
       },
       Rule::kDtype, "x_active_mask is int8 but must be bool"},
      {"dynamic_scales_dtype", rows_of_int8,
       [](Dispatch& a) { a.dynamic_scales = tensor(kF16, {12}); }, Rule::kDtype,
       "dynamic_scales is float16 but must be float32"},
      {"assist_dtype", rows_of_t,
       [](Dispatch& a) { a.assist_info_for_combine = tensor(kI64, {36}); }, Rule::kDtype,
       "assist_info_for_combine is int64 but must be int32"},
      {"nums_dtype", rows_of_t, [](Dispatch& a) { a.expert_token_nums = tensor(kI32, {2}); },
       Rule::kDtype, "expert_token_nums is int32 but must be int64"},
      {"counts_dtype", rows_of_t, [](Dispatch& a) { a.ep_recv_counts = tensor(kI64, {8}); },
       Rule::kDtype, "ep_recv_counts is int64 but must be int32"},
      {"tp_counts_dtype", in_pairs, [](Dispatch& a) { a.tp_recv_counts = tensor(kI64, {2}); },
       Rule::kDtype, "tp_recv_counts is int64 but must be int32"},
  };
  return rules;
}

const Rules& axes_and_experts() {
  static const Rules rules = {
      {"negative", rows_of_t,
       [](Dispatch& a) {
         a.x = strided(kBf16, {-5, 16}, {16, 1});
       },
       Rule::kShape, "x is (-5, 16) but no extent can be negative"},
      {"no_axes", rows_of_t, [](Dispatch& a) { a.ep_recv_counts = strided(kI32, {}, {}); },
       Rule::kNoAxes, "ep_recv_counts has no dimensions"},
      {"x_axes", rows_of_t,
       [](Dispatch& a) {
         a.x = tensor(kBf16, {5, 1, 16});
       },
       Rule::kRank, "x is (5, 1, 16) but must have 2 axes"},
      {"expert_ids_axes", rows_of_t, [](Dispatch& a) { a.expert_ids = tensor(kI32, {10}); },
       Rule::kRank, "expert_ids is (10) but must have 2 axes"},
      {"scales_axes", rows_of_int8, [](Dispatch& a) { a.scales = tensor(kF32, {16}); }, Rule::kRank,
       "scales is (16) but must have 2 axes"},
      {"mask_axes", rows_of_int8,
       [](Dispatch& a) {
         a.x_active_mask = tensor(kBool, {5, 2, 1});
       },
       Rule::kRank, "x_active_mask is (5, 2, 1) but must have 1 or 2 axes"},
      {"nums_axes", rows_of_t,
       [](Dispatch& a) {
         a.expert_token_nums = tensor(kI64, {2, 1});
       },
       Rule::kRank, "expert_token_nums is (2, 1) but must have 1 axes"},
      {"fractal_nz", rows_of_t,
       [](Dispatch& a) { a.x = ConstTensorRef::fractal_nz(nullptr, kBf16, 5, 16); }, Rule::kFormat,
       "x is FRACTAL_NZ; pass it with strides"},
      {"no_experts", rows_of_t, [](Dispatch& a) { a.experts.moe_expert_num = 0; }, Rule::kExperts,
       "moe_expert_num is 0 but must be 1 to 65536"},
      {"negative_experts", rows_of_t, [](Dispatch& a) { a.experts.zero_expert_num = -1; },
       Rule::kExperts, "zero_expert_num is -1 but must be 0 to 2147483647"},
      {"too_many_ids", rows_of_t,
       [](Dispatch& a) { a.experts.copy_expert_num = a.experts.zero_expert_num = 2'000'000'000; },
       Rule::kExperts,
       "there are 4000000008 experts, special ones included, but ids are int32; have at most "
       "2147483647"},
      {"all_ranks_shared", rows_of_t, [](Dispatch& a) { a.experts = experts(8, 1, 4); },
       Rule::kExperts,
       "shared_expert_rank_num is 4 of 4 ranks; at least one must be left for the other experts"},
      {"shared_nowhere", rows_of_t, [](Dispatch& a) { a.experts = experts(8, 1, 0); },
       Rule::kExperts,
       "shared_expert_num is 1 but shared_expert_rank_num is 0; shared experts live on ranks of "
       "their own, so both are 0 or none is"},
      {"ranks_of_nothing", rows_of_t, [](Dispatch& a) { a.experts = experts(8, 0, 2); },
       Rule::kExperts,
       "shared_expert_num is 0 but shared_expert_rank_num is 2; shared experts live on ranks of "
       "their own, so both are 0 or none is"},
      {"replicas", rows_of_t, [](Dispatch& a) { a.experts = experts(8, 2, 3); }, Rule::kExperts,
       "shared_expert_rank_num is 3 but must be a multiple of shared_expert_num (2)"},
      {"slices", rows_of_t,
       [](Dispatch& a) {
         a.experts = experts(8, 2, 2);
         a.experts.shared_tokens = SharedTokens::kBySlice;
       },
       Rule::kExperts,
       "shared_expert_num is 2 but tokens are dealt out by slices to one shared expert only"},
      {"experts_in_pairs", in_pairs, [](Dispatch& a) { a.experts.moe_expert_num = 8; },
       Rule::kExperts,
       "moe_expert_num is 8 but must be 4 with TP: one expert on each rank without a shared one"},
  };
  return rules;
}

const Rules& shapes_and_strides() {
  static const Rules rules = {
      {"rows_of_expert_ids", rows_of_t,
       [](Dispatch& a) {
         a.expert_ids = tensor(kI32, {4, 2});
       },
       Rule::kShape, "expert_ids is (4, 2) but must be (5, 2)"},
      {"scales_with_t", rows_of_t,
       [](Dispatch& a) {
         a.scales = tensor(kF32, {8, 16});
       },
       Rule::kScaleShape,
       "scales is given but expand_x is bfloat16; only rows of int8 are scaled, leave it out"},
      {"rows_of_scales", rows_of_int8,
       [](Dispatch& a) {
         a.scales = tensor(kF32, {7, 16});
       },
       Rule::kShape, "scales is (7, 16) but must have 8 rows of 16"},
      {"columns_of_scales", rows_of_int8,
       [](Dispatch& a) {
         a.scales = tensor(kF32, {8, 15});
       },
       Rule::kShape, "scales is (8, 15) but must have 8 rows of 16"},
      {"mask", rows_of_int8,
       [](Dispatch& a) {
         a.x_active_mask = tensor(kBool, {5, 3});
       },
       Rule::kShape, "x_active_mask is (5, 3) but must be (5) or (5, 2)"},
      {"mask_of_tokens", rows_of_int8, [](Dispatch& a) { a.x_active_mask = tensor(kBool, {4}); },
       Rule::kShape, "x_active_mask is (4) but must be (5) or (5, 2)"},
      {"columns_of_expand_x", rows_of_t,
       [](Dispatch& a) {
         a.expand_x = tensor(kBf16, {12, 15});
       },
       Rule::kShape, "expand_x is (12, 15) but must have 12 rows of 16"},
      {"dynamic_scales", rows_of_int8, [](Dispatch& a) { a.dynamic_scales = tensor(kF32, {11}); },
       Rule::kShape, "dynamic_scales is (11) but must have at least 12 elements"},
      {"assist", rows_of_t, [](Dispatch& a) { a.assist_info_for_combine = tensor(kI32, {35}); },
       Rule::kShape, "assist_info_for_combine is (35) but must have at least 36 elements"},
      {"nums", rows_of_t, [](Dispatch& a) { a.expert_token_nums = tensor(kI64, {3}); },
       Rule::kShape, "expert_token_nums is (3) but must have 2 elements"},
      {"counts", rows_of_t, [](Dispatch& a) { a.ep_recv_counts = tensor(kI32, {7}); }, Rule::kShape,
       "ep_recv_counts is (7) but must have at least 8 elements"},
      {"counts_in_pairs", in_pairs, [](Dispatch& a) { a.ep_recv_counts = tensor(kI32, {7}); },
       Rule::kShape, "ep_recv_counts is (7) but must have at least 8 elements"},
      {"tp_counts", in_pairs, [](Dispatch& a) { a.tp_recv_counts = tensor(kI32, {3}); },
       Rule::kShape, "tp_recv_counts is (3) but must have 2 elements"},
      {"x_strides", rows_of_t,
       [](Dispatch& a) {
         a.x = strided(kBf16, {5, 16}, {1, 5});
       },
       Rule::kStrides,
       "x has stride 5 along its rows but their elements must be adjacent (1); make it "
       "contiguous"},
      {"scales_strides", rows_of_int8,
       [](Dispatch& a) {
         a.scales = strided(kF32, {8, 16}, {1, 8});
       },
       Rule::kStrides,
       "scales has stride 8 along its rows but their elements must be adjacent (1); make it "
       "contiguous"},
      {"expand_x_strides", rows_of_t,
       [](Dispatch& a) {
         a.expand_x = strided(kBf16, {12, 16}, {1, 12});
       },
       Rule::kStrides,
       "expand_x has stride 12 along its rows but their elements must be adjacent (1); make it "
       "contiguous"},
      {"expand_x_overlaps_itself", rows_of_t,
       [](Dispatch& a) {
         a.expand_x = strided(kBf16, {12, 16}, {15, 1});
       },
       Rule::kStrides,
       "expand_x has strides (15, 1) that put several of its rows at the same place; make it "
       "contiguous"},
      {"expand_x_in_pairs", in_pairs,
       [](Dispatch& a) {
         a.expand_x = strided(kBf16, {12, 16}, {20, 1});
       },
       Rule::kStrides,
       "expand_x has strides (20, 1) but must be dense with TP; make it contiguous"},
      {"dynamic_scales_strides", rows_of_int8,
       [](Dispatch& a) { a.dynamic_scales = strided(kF32, {12}, {2}); }, Rule::kStrides,
       "dynamic_scales has strides (2) but must be dense; make it contiguous"},
      {"nums_strides", rows_of_t,
       [](Dispatch& a) { a.expert_token_nums = strided(kI64, {2}, {2}); }, Rule::kStrides,
       "expert_token_nums has strides (2) but must be dense; make it contiguous"},
  };
  return rules;
}

class MoeDispatchRule : public ::testing::TestWithParam<MoeRule<Dispatch>> {};

TEST_P(MoeDispatchRule, SaysWhatIsWrong) { expect_refused(GetParam(), "moe_dispatch"); }

std::string name_of(const auto& test) { return test.param.name; }
INSTANTIATE_TEST_SUITE_P(Dtypes, MoeDispatchRule, ::testing::ValuesIn(missing_and_dtypes()),
                         name_of<::testing::TestParamInfo<MoeRule<Dispatch>>>);
INSTANTIATE_TEST_SUITE_P(Axes, MoeDispatchRule, ::testing::ValuesIn(axes_and_experts()),
                         name_of<::testing::TestParamInfo<MoeRule<Dispatch>>>);
INSTANTIATE_TEST_SUITE_P(Shapes, MoeDispatchRule, ::testing::ValuesIn(shapes_and_strides()),
                         name_of<::testing::TestParamInfo<MoeRule<Dispatch>>>);

TEST(MoeDispatchContract, LegalCalls) {
  for (const Dispatch& a : {rows_of_t(), rows_of_int8(), in_pairs()}) expect_legal(a);
  Dispatch a = rows_of_t();
  a.assist_info_for_combine = {};
  expect_legal(a);
  a.x = strided(kBf16, {5, 16}, {-20, 1});
  a.expert_ids = strided(kI32, {5, 2}, {1, -7});
  a.x_active_mask = strided(kBool, {5}, {0});
  a.expand_x = strided(kBf16, {12, 16}, {-16, 1});
  expect_legal(a);
  a = rows_of_t();  // more room than needed, and a scale that nobody writes
  a.ep_recv_counts = tensor(kI32, {100});
  a.assist_info_for_combine = tensor(kI32, {12 * 128});
  a.dynamic_scales = tensor(kF32, {12});
  expect_legal(a);
  a = rows_of_int8();
  a.scales = a.x_active_mask = {};
  expect_legal(a);
  a = rows_of_t();  // no tokens
  a.x = tensor(kBf16, {0, 16});
  a.expert_ids = tensor(kI32, {0, 2});
  expect_legal(a);
  a.expand_x = tensor(kBf16, {0, 16});
  a.assist_info_for_combine = tensor(kI32, {0});
  expect_legal(a);
}

// Of 4 ranks the last: 7 experts are 1, 2, 2 and 2 of them, 3 are 0, 1, 1 and 1.
TEST(MoeDispatchContract, LocalExperts) {
  const auto with_experts = [](const MoeExperts& e, std::int64_t local, std::int64_t counts) {
    Dispatch a = rows_of_t();
    a.experts = e;
    a.expert_token_nums = tensor(kI64, {local});
    a.ep_recv_counts = tensor(kI32, {counts});
    return a;
  };
  expect_legal(with_experts({.moe_expert_num = 7}, 2, 8));
  expect_legal(with_experts({.moe_expert_num = 3}, 1, 4));
  expect_legal(with_experts(experts(7, 1, 1), 3, 12));
  const auto on_rank = [](int rank, const Dispatch& a) {
    return check_plan(a, rank, kRanks, false).to_string();
  };
  EXPECT_EQ(on_rank(0, with_experts({.moe_expert_num = 7}, 1, 4)), "ok");
  EXPECT_EQ(on_rank(0, with_experts({.moe_expert_num = 3}, 0, 0)), "ok");
  EXPECT_EQ(on_rank(0, with_experts(experts(7, 1, 2), 1, 4)), "ok");  // a shared one
  EXPECT_EQ(on_rank(2, with_experts(experts(7, 1, 2), 3, 12)), "ok");
  const int want[] = {1, 1, 3, 4};
  for (int rank = 0; rank < kRanks; ++rank)
    EXPECT_EQ(local_expert_num(experts(7, 1, 2), rank, kRanks), want[rank]);
}

class MoeDispatchRun : public ::testing::Test {
 protected:
  // Memory of its own for each operand, in one block so that the tests can overlap them.
  void begin(const Dispatch& planned) {
    planned_ = args_ = planned;
    for (ConstTensorRef* t : {&args_.x, &args_.expert_ids, &args_.scales, &args_.x_active_mask})
      if (t->given()) *t = t->with_data(take());
    for (TensorRef* t : outputs())
      if (t->given()) *t = t->with_data(take());
  }
  std::vector<TensorRef*> outputs() {
    return {&args_.expand_x,          &args_.dynamic_scales, &args_.assist_info_for_combine,
            &args_.expert_token_nums, &args_.ep_recv_counts, &args_.tp_recv_counts};
  }
  std::string message() const { return check_run(planned_, args_, kRank).message(); }
  char* take() { return memory_.data() + 1024 * taken_++; }

  std::vector<char> memory_ = std::vector<char>(12 * 1024);
  int taken_ = 0;
  Dispatch planned_, args_;
};

TEST_F(MoeDispatchRun, WhatDiffersFromThePlan) {
  for (const Dispatch& planned : {rows_of_t(), rows_of_int8(), in_pairs()}) {
    taken_ = 0;
    begin(planned);
    EXPECT_EQ(message(), "");
  }
  begin(rows_of_t());
  const Dispatch legal = args_;
  const auto says = [&](const std::string& text) {
    EXPECT_EQ(message(), "moe_dispatch (rank 3): " + text);
    args_ = legal;
  };
  args_.x = ConstTensorRef(args_.x.data(), kBf16, {4, 16});
  says("x is bfloat16 (4, 16) but bfloat16 (5, 16) was planned; plan again for another layout");
  args_.x_active_mask = {args_.x.data(), kBool, {5}};
  says("x_active_mask is bool (5) but none was planned; plan again for another layout");
  args_.assist_info_for_combine = {};
  says("assist_info_for_combine is none but int32 (36) was planned; plan again for another layout");
  args_.expert_ids = args_.expert_ids.with_data(nullptr);
  says("expert_ids has no data (null pointer)");
  args_.tokens_are_ends = true;
  says("tokens_are_ends is true but false was planned; plan again");
  args_.experts.zero_expert_num = 1;
  says("zero_expert_num is 1 but 0 was planned; plan again");
  args_.experts.shared_tokens = SharedTokens::kBySlice;
  says("shared_tokens is by slice but by source was planned; plan again");
}

TEST_F(MoeDispatchRun, OutputsOverlapNothing) {
  begin(rows_of_int8());
  const Dispatch legal = args_;
  for (std::size_t i = 0; i < outputs().size(); ++i)
    for (const ConstTensorRef& other :
         {legal.x, legal.expert_ids, legal.scales, legal.x_active_mask,
          ConstTensorRef(legal.expand_x), ConstTensorRef(legal.dynamic_scales),
          ConstTensorRef(legal.ep_recv_counts)}) {
      args_ = legal;
      TensorRef& output = *outputs()[i];
      if (!output.given() || output.data() == other.data()) continue;
      output = output.with_data(const_cast<void*>(other.data()));
      EXPECT_THAT(message(), ::testing::HasSubstr(" overlaps "));
    }
}

}  // namespace
}  // namespace weft::ops::testing
