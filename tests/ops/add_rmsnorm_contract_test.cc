// SPDX-License-Identifier: Apache-2.0
// One failing call per rule, with the text a user sees.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ops/add_rmsnorm/contract.h"

namespace weft::ops {
namespace {

using Args = AddRmsNormArgs;
constexpr DType kF16 = DType::kFloat16, kF32 = DType::kFloat32, kI8 = DType::kInt8;

// (2, 3, 4, 5) with the last two axes normalised: a legal call without data.
Args legal() {
  Args a;
  a.x1 = a.x2 = {nullptr, kF16, {2, 3, 4, 5}};
  a.gamma = {nullptr, kF16, {4, 5}};
  a.y = a.x = TensorRef(nullptr, kF16, {2, 3, 4, 5});
  a.rstd = TensorRef(nullptr, kF32, {2, 3, 1, 1});
  return a;
}

TensorRef strided(DType type, const std::vector<std::int64_t>& dims,
                  const std::vector<std::int64_t>& strides) {
  return {nullptr, type, dims, strides};
}

struct BrokenRule {
  const char* name;
  std::function<void(Args&)> breaks;
  Rule rule;
  const char* message;  // after "add_rmsnorm: "
};

const std::vector<BrokenRule>& broken_rules() {
  static const std::vector<BrokenRule> rules = {
      {"no_x1", [](Args& a) { a.x1 = {}; }, Rule::kMissing, "x1 is missing"},
      {"no_x2", [](Args& a) { a.x2 = {}; }, Rule::kMissing, "x2 is missing"},
      {"no_gamma", [](Args& a) { a.gamma = {}; }, Rule::kMissing, "gamma is missing"},
      {"no_y", [](Args& a) { a.y = {}; }, Rule::kMissing, "y is missing"},
      {"no_x", [](Args& a) { a.x = {}; }, Rule::kMissing,
       "x is missing; for the in-place form pass x1's or x2's memory as x"},
      {"rank_0", [](Args& a) { a.gamma = strided(kF16, {}, {}); }, Rule::kNoAxes,
       "gamma has no dimensions"},
      {"negative",
       [](Args& a) {
         a.x2 = strided(kF16, {2, -3, 4, 5}, {60, 20, 5, 1});
       },
       Rule::kShape, "x2 is (2, -3, 4, 5) but no extent can be negative"},
      {"fractal_nz", [](Args& a) { a.gamma = ConstTensorRef::fractal_nz(nullptr, kF16, 4, 5); },
       Rule::kFormat, "gamma is FRACTAL_NZ but must lie as its strides say"},
      {"dtype",
       [](Args& a) {
         a.x1 = {nullptr, kI8, {2, 3, 4, 5}};
       },
       Rule::kDtype, "x1 is int8 but must be float16, bfloat16 or float32"},
      {"x2_dtype",
       [](Args& a) {
         a.x2 = {nullptr, kF32, {2, 3, 4, 5}};
       },
       Rule::kDtype, "x2 is float32 but must be float16 like x1"},
      {"gamma_dtype",
       [](Args& a) {
         a.gamma = {nullptr, kF32, {4, 5}};
       },
       Rule::kDtype, "gamma is float32 but must be float16 like x1"},
      {"y_dtype",
       [](Args& a) {
         a.y = {nullptr, kF32, {2, 3, 4, 5}};
       },
       Rule::kDtype, "y is float32 but must be float16 like x1"},
      {"x_dtype",
       [](Args& a) {
         a.x = {nullptr, kF32, {2, 3, 4, 5}};
       },
       Rule::kDtype, "x is float32 but must be float16 like x1"},
      {"rstd_dtype",
       [](Args& a) {
         a.rstd = {nullptr, kF16, {2, 3, 1, 1}};
       },
       Rule::kDtype, "rstd is float16 but must be float32"},
      {"gamma_shape",
       [](Args& a) {
         a.gamma = {nullptr, kF16, {5, 4}};
       },
       Rule::kShape, "gamma is (5, 4) but must be the last axes of x1, which is (2, 3, 4, 5)"},
      {"gamma_has_more_axes",
       [](Args& a) {
         a.gamma = {nullptr, kF16, {1, 2, 3, 4, 5}};
       },
       Rule::kShape,
       "gamma is (1, 2, 3, 4, 5) but must be the last axes of x1, which is (2, 3, 4, 5)"},
      {"nothing_to_average",
       [](Args& a) {
         a.x1 = {nullptr, kF16, {2, 0}};
         a.gamma = {nullptr, kF16, {0}};
       },
       Rule::kShape,
       "gamma is (0): an axis that is normalised can't be 0, there is no mean of nothing"},
      {"x2_shape",
       [](Args& a) {
         a.x2 = {nullptr, kF16, {3, 2, 4, 5}};
       },
       Rule::kShape, "x2 is (3, 2, 4, 5) but must be (2, 3, 4, 5) like x1"},
      {"y_shape",
       [](Args& a) {
         a.y = {nullptr, kF16, {6, 4, 5}};
       },
       Rule::kShape, "y is (6, 4, 5) but must be (2, 3, 4, 5) like x1"},
      {"x_shape",
       [](Args& a) {
         a.x = {nullptr, kF16, {2, 3, 4, 6}};
       },
       Rule::kShape, "x is (2, 3, 4, 6) but must be (2, 3, 4, 5) like x1"},
      {"rstd_shape",
       [](Args& a) {
         a.rstd = {nullptr, kF32, {2, 3}};
       },
       Rule::kShape, "rstd is (2, 3) but must be (2, 3, 1, 1): x1 with 1 for every axis of gamma"},
      {"too_far",
       [](Args& a) {
         a.x1 = strided(kF16, {2, 3, 4, 5}, {INT64_MAX, 20, 5, 1});
       },
       Rule::kLimit,
       "x1 is (2, 3, 4, 5) with strides (9223372036854775807, 20, 5, 1), more than can be "
       "addressed"},
      {"x1_strides",
       [](Args& a) {
         a.x1 = strided(kF16, {2, 3, 4, 5}, {60, 20, 1, 4});
       },
       Rule::kStrides,
       "x1 has strides (60, 20, 1, 4), but its last 2 axes, those of gamma, must lie adjacent in "
       "row-major order; make it contiguous"},
      {"x2_strides",
       [](Args& a) {
         a.x2 = strided(kF16, {2, 3, 4, 5}, {72, 24, 6, 1});
       },
       Rule::kStrides,
       "x2 has strides (72, 24, 6, 1), but its last 2 axes, those of gamma, must lie adjacent in "
       "row-major order; make it contiguous"},
      {"y_strides",
       [](Args& a) {
         a.y = strided(kF16, {2, 3, 4, 5}, {1, 2, 30, 6});
       },
       Rule::kStrides,
       "y has strides (1, 2, 30, 6), but its last 2 axes, those of gamma, must lie adjacent in "
       "row-major order; make it contiguous"},
      {"y_rows_overlap",
       [](Args& a) {
         a.y = strided(kF16, {2, 3, 4, 5}, {60, 19, 5, 1});
       },
       Rule::kStrides,
       "y has strides (60, 19, 5, 1) that put several of its rows at the same place; make it "
       "contiguous"},
      {"x_rows_overlap",
       [](Args& a) {
         a.x = strided(kF16, {2, 3, 4, 5}, {40, -20, 5, 1});
       },
       Rule::kStrides,
       "x has strides (40, -20, 5, 1) that put several of its rows at the same place; make it "
       "contiguous"},
      {"rstd_overlaps",
       [](Args& a) {
         a.rstd = strided(kF32, {2, 3, 1, 1}, {0, 1, 1, 1});
       },
       Rule::kStrides,
       "rstd has strides (0, 1, 1, 1) that put several of its rows at the same place; make it "
       "contiguous"},
      {"epsilon_0", [](Args& a) { a.epsilon = 0; }, Rule::kEpsilon,
       "epsilon is 0 but must be between 0 and 1 (both excluded)"},
      {"epsilon_1", [](Args& a) { a.epsilon = 1; }, Rule::kEpsilon,
       "epsilon is 1 but must be between 0 and 1 (both excluded)"},
  };
  return rules;
}

class PlanRule : public ::testing::TestWithParam<std::size_t> {};

TEST_P(PlanRule, SaysWhatIsWrong) {
  const BrokenRule& broken = broken_rules()[GetParam()];
  Args a = legal();
  broken.breaks(a);
  const Status status = check_plan(a);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), std::string("add_rmsnorm: ") + broken.message);
  EXPECT_EQ(to_string(static_cast<Rule>(status.rule())), to_string(broken.rule));
}

INSTANTIATE_TEST_SUITE_P(All, PlanRule, ::testing::Range<std::size_t>(0, broken_rules().size()),
                         [](const auto& info) { return broken_rules()[info.param].name; });

TEST(PlanContract, LegalCalls) {
  EXPECT_TRUE(check_plan(legal()).ok());
  Args a = legal();
  a.rstd = {};
  EXPECT_TRUE(check_plan(a).ok());
  a = legal();
  a.gamma = {nullptr, kF16, {2, 3, 4, 5}};
  a.rstd = TensorRef(nullptr, kF32, {1, 1, 1, 1});
  EXPECT_TRUE(check_plan(a).ok());
  a = legal();  // interleaved, repeated and backwards where it is only read
  a.x1 = strided(kF16, {2, 3, 4, 5}, {7, 3, 5, 1});
  a.x2 = strided(kF16, {2, 3, 4, 5}, {0, -20, 5, 1});
  a.gamma = strided(kF16, {4, 5}, {0, -3});
  EXPECT_TRUE(check_plan(a).ok());
  a = legal();  // the strides of an axis of one element do not matter
  a.x1 = a.x2 = {nullptr, kF16, {1, 3, 1, 5}};
  a.gamma = {nullptr, kF16, {1, 5}};
  a.y = a.x = strided(kF16, {1, 3, 1, 5}, {0, 5, 77, 1});
  a.rstd = strided(kF32, {1, 3, 1, 1}, {0, 1, 0, 0});
  EXPECT_TRUE(check_plan(a).ok()) << check_plan(a).to_string();
}

class RunRules : public ::testing::Test {
 protected:
  // Memory of its own for each operand, in one block so that the tests can overlap them.
  RunRules() {
    args_ = legal();
    const auto take = [&](auto& tensor) {
      tensor = tensor.with_data(memory_.data() + taken_);
      taken_ += 512;
    };
    take(args_.x1), take(args_.x2), take(args_.gamma), take(args_.y), take(args_.rstd);
    take(args_.x);
  }
  std::string message() const {
    const Status status = check_run(legal(), args_);
    return status.ok() ? "ok" : status.message();
  }
  static char* past(const ConstTensorRef& tensor, int bytes) {
    return const_cast<char*>(static_cast<const char*>(tensor.data())) + bytes;
  }

  std::vector<char> memory_ = std::vector<char>(6 * 512);
  std::size_t taken_ = 0;
  Args args_;
};

TEST_F(RunRules, LegalCall) { EXPECT_EQ(message(), "ok"); }

TEST_F(RunRules, AnotherLayout) {
  args_.x2 = ConstTensorRef(args_.x2.data(), kF16, {2, 3, 20});
  EXPECT_EQ(
      message(),
      "add_rmsnorm: x2 is float16 (2, 3, 20) but float16 (2, 3, 4, 5) was planned; plan again "
      "for another layout");
}

TEST_F(RunRules, RstdWasNotPlanned) {
  args_.rstd = {};
  EXPECT_EQ(
      message(),
      "add_rmsnorm: rstd is none but float32 (2, 3, 1, 1) was planned; plan again for another "
      "layout");
}

TEST_F(RunRules, NoData) {
  args_.y = args_.y.with_data(nullptr);
  EXPECT_EQ(message(), "add_rmsnorm: y has no data (null pointer)");
}

TEST_F(RunRules, AnotherEpsilon) {
  args_.epsilon = 1e-3;
  EXPECT_EQ(message(), "add_rmsnorm: epsilon is 0.001 but 1e-06 was planned; plan again");
}

TEST_F(RunRules, YOverlaps) {
  const Args legal_args = args_;
  for (const auto& [name, tensor] : {NamedTensor{"x1", args_.x1},
                                     {"x2", args_.x2},
                                     {"gamma", args_.gamma},
                                     {"rstd", args_.rstd},
                                     {"x", args_.x}}) {
    args_ = legal_args;
    args_.y = args_.y.with_data(past(tensor, 2));
    EXPECT_EQ(message(),
              "add_rmsnorm: y overlaps " + std::string(name) + "; give it memory of its own");
  }
}

TEST_F(RunRules, RstdOverlaps) {
  const Args legal_args = args_;
  for (const auto& [name, tensor] :
       {NamedTensor{"x1", args_.x1}, {"x2", args_.x2}, {"gamma", args_.gamma}, {"x", args_.x}}) {
    args_ = legal_args;
    args_.rstd = args_.rstd.with_data(past(tensor, 4));
    EXPECT_EQ(message(),
              "add_rmsnorm: rstd overlaps " + std::string(name) + "; give it memory of its own");
  }
}

TEST_F(RunRules, XOverlapsGamma) {
  args_.x = args_.x.with_data(past(args_.gamma, 0));
  EXPECT_EQ(message(), "add_rmsnorm: x overlaps gamma; give it memory of its own");
}

TEST_F(RunRules, XMayBeExactlyX1OrX2) {
  for (const ConstTensorRef& tensor : {args_.x1, args_.x2}) {
    args_.x = args_.x.with_data(past(tensor, 0));
    EXPECT_EQ(message(), "ok");
  }
  args_.x = args_.x.with_data(past(args_.x1, 2));
  EXPECT_EQ(message(), "add_rmsnorm: x overlaps x1; only exactly x1's memory may be shared with x");
  args_.x = args_.x.with_data(past(args_.x2, 40));
  EXPECT_EQ(message(), "add_rmsnorm: x overlaps x2; only exactly x2's memory may be shared with x");
}

// x is x1, but x2 lies one row behind it in the same memory: writing x would change it.
TEST_F(RunRules, XIsX1AndOverlapsX2) {
  args_.x2 = args_.x2.with_data(past(args_.x1, 40));
  EXPECT_EQ(message(), "ok");
  args_.x = args_.x.with_data(past(args_.x1, 0));
  EXPECT_EQ(message(), "add_rmsnorm: x overlaps x2; only exactly x2's memory may be shared with x");
}

}  // namespace
}  // namespace weft::ops
