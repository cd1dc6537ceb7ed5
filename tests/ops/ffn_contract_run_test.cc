// SPDX-License-Identifier: Apache-2.0
// What a plan takes, the rules of run(), and what expert_tokens may say.
#include <gtest/gtest.h>

#include <climits>
#include <string>
#include <vector>

#include "ffn_calls.h"

namespace weft::ops::testing {
namespace {

void expect_legal(const Args& a) {
  const Status status = check_plan(a);
  EXPECT_TRUE(status.ok()) << status.to_string();
}

TEST(FfnPlanContract, LegalCalls) {
  for (const Args& a : {floats(), bfloats(), gated(), with_experts(), quant(), quant_experts(),
                        from_int8(), from_int4(), int4_experts()})
    expect_legal(a);
  Args a = floats();
  a.inner_precise = InnerPrecise::kHighPerformance;
  expect_legal(a);
  a = quant();  // where it changes nothing
  a.inner_precise = InnerPrecise::kHighPerformance;
  expect_legal(a);
  a.scale = {nullptr, kF32, {12}};
  expect_legal(a);
  a = with_experts();  // GLU with experts, which CANN refuses
  a.activation = Activation::kReglu;
  a.weight2 = {nullptr, kF16, {3, 6, 10}};
  expect_legal(a);
  a = bfloats();
  a.bias2 = {nullptr, kBf16, {10}};
  expect_legal(a);
  a = from_int8();
  a.antiquant_offset1 = {};
  expect_legal(a);
  a.antiquant_scale1 = {nullptr, kF16, {8, 12}};  // every row of k its own group
  expect_legal(a);
}

TEST(FfnPlanContract, AnyStridesWhereItOnlyReads) {
  Args a = floats();
  a.x = strided(kF16, {2, 3, 8}, {0, -3, 7});
  a.weight1 = strided(kF16, {8, 12}, {-5, 3});
  a.weight2 = strided(kF16, {12, 10}, {1, 12});
  a.bias1 = strided(kF16, {12}, {-2});
  a.y = strided(kF16, {2, 3, 10}, {1, 2, -6});
  expect_legal(a);
  a = int4_experts();
  a.weight1 = strided(kI4, {3, 8, 12}, {0, 1, 8});
  a.weight2 = strided(kI4, {3, 12, 10}, {10, 30, 1});
  expect_legal(a);
}

TEST(FfnPlanContract, ExtentsOfZero) {
  Args a = floats();
  a.x = {nullptr, kF16, {2, 0, 8}};
  a.y = {nullptr, kF16, {2, 0, 10}};
  expect_legal(a);
  a = floats();
  a.weight1 = {nullptr, kF16, {8, 0}};
  a.weight2 = {nullptr, kF16, {0, 10}};
  a.bias1 = {};
  expect_legal(a);
  a.activation = Activation::kGeglu;
  expect_legal(a);
  a = floats();
  a.x = {nullptr, kF16, {2, 3, 0}};
  a.weight1 = {nullptr, kF16, {0, 12}};
  expect_legal(a);
  a = floats();
  a.weight2 = {nullptr, kF16, {12, 0}};
  a.bias2 = {};
  a.y = {nullptr, kF16, {2, 3, 0}};
  expect_legal(a);
  a = with_experts();
  a.weight1 = {nullptr, kF16, {0, 8, 12}};
  a.weight2 = {nullptr, kF16, {0, 12, 10}};
  a.bias1 = a.bias2 = {};
  a.expert_tokens = {nullptr, kI64, {0}};
  expect_legal(a);
}

class FfnRunRules : public ::testing::Test {
 protected:
  // Memory of its own for each operand, in one block so that the tests can overlap them.
  void begin(const Args& planned) {
    planned_ = args_ = planned;
    for (ConstTensorRef* t :
         {&args_.x, &args_.weight1, &args_.weight2, &args_.expert_tokens, &args_.bias1,
          &args_.bias2, &args_.scale, &args_.offset, &args_.deq_scale1, &args_.deq_scale2,
          &args_.antiquant_scale1, &args_.antiquant_scale2, &args_.antiquant_offset1,
          &args_.antiquant_offset2})
      if (t->given()) *t = t->with_data(take());
    args_.y = args_.y.with_data(take());
  }
  std::string message() const {
    const Status status = check_run(planned_, args_);
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kInvalidArgument);
    return status.ok() ? "ok" : status.message();
  }
  char* take() { return memory_.data() + 1024 * taken_++; }

  std::vector<char> memory_ = std::vector<char>(18 * 1024);
  int taken_ = 1;  // y may begin before the first operand
  Args planned_, args_;
};

TEST_F(FfnRunRules, LegalCall) {
  begin(int4_experts());
  EXPECT_EQ(message(), "ok");
}

TEST_F(FfnRunRules, AnotherLayout) {
  begin(floats());
  const auto* data = args_.weight1.data();
  args_.weight1 = ConstTensorRef(data, kF16, {12, 8}).transposed();
  EXPECT_EQ(message(),
            "ffn: weight1 is float16 (8, 12) strides (1, 8) but float16 (8, 12) was planned; plan "
            "again for another layout");
}

TEST_F(FfnRunRules, AnOperandMore) {
  begin(floats());
  args_.expert_tokens = {take(), kI64, {3}};
  EXPECT_EQ(message(),
            "ffn: expert_tokens is int64 (3) but none was planned; plan again for another layout");
}

TEST_F(FfnRunRules, AnOperandLess) {
  begin(floats());
  args_.bias1 = {};
  EXPECT_EQ(message(),
            "ffn: bias1 is none but float16 (12) was planned; plan again for another layout");
}

TEST_F(FfnRunRules, NoData) {
  begin(floats());
  args_.bias2 = args_.bias2.with_data(nullptr);
  EXPECT_EQ(message(), "ffn: bias2 has no data (null pointer)");
}

TEST_F(FfnRunRules, OtherAttributes) {
  begin(with_experts());
  Args legal = args_;
  args_.activation = Activation::kRelu;
  EXPECT_EQ(message(), "ffn: activation is relu but gelu was planned; plan again");
  args_ = legal;
  args_.inner_precise = InnerPrecise::kHighPerformance;
  EXPECT_EQ(message(), "ffn: inner_precise is 1 but 0 was planned; plan again");
  args_ = legal;
  args_.tokens_are_ends = true;
  EXPECT_EQ(message(), "ffn: tokens_are_ends is true but false was planned; plan again");
}

TEST_F(FfnRunRules, YOverlaps) {
  for (const Args& planned : {int4_experts(), quant_experts(), from_int8(), with_experts()}) {
    begin(planned);
    const Args legal = args_;
    const TensorList tensors = tensors_of(legal);
    for (const auto& [name, tensor] : std::span<const NamedTensor>(tensors)) {
      if (!tensor.given() || name == "y") continue;
      args_.y = legal.y.with_data(const_cast<char*>(static_cast<const char*>(tensor.data())) -
                                  2 * legal.y.elements() + 2);
      EXPECT_EQ(message(), "ffn: y overlaps " + std::string(name) + "; give it memory of its own");
    }
    taken_ = 1;
  }
}

std::string refusal(const Dims& values, bool are_ends, std::int64_t m, std::int64_t stride = 1) {
  const Status status =
      check_expert_tokens(values.data(), std::ssize(values) / stride, stride, are_ends, m);
  if (status.ok()) return "ok";
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(to_string(static_cast<Rule>(status.rule())), "kTokens");
  return status.message();
}

TEST(FfnExpertTokens, Counts) {
  EXPECT_EQ(refusal({3, 0, 4}, false, 7), "ok");
  EXPECT_EQ(refusal({0, 0, 4}, false, 7), "ok");
  EXPECT_EQ(refusal({}, false, 7), "ok");
  EXPECT_EQ(refusal({3, -1, 5}, false, 7), "ffn: expert_tokens[1] is -1 but can't be negative");
  EXPECT_EQ(refusal({3, 0, 5}, false, 7),
            "ffn: expert_tokens[2] is 5, which makes 3 + 5 rows, but x has 7");
  EXPECT_EQ(refusal({3, INT64_MAX, INT64_MAX}, false, 7),
            "ffn: expert_tokens[1] is 9223372036854775807, which makes 3 + 9223372036854775807 "
            "rows, but x has 7");
  EXPECT_EQ(refusal({1}, false, 0),
            "ffn: expert_tokens[0] is 1, which makes 0 + 1 rows, but x has 0");
}

TEST(FfnExpertTokens, Ends) {
  EXPECT_EQ(refusal({3, 3, 7}, true, 7), "ok");
  EXPECT_EQ(refusal({0, 0, 4}, true, 7), "ok");
  EXPECT_EQ(refusal({-3, 3, 7}, true, 7), "ffn: expert_tokens[0] is -3 but can't be negative");
  EXPECT_EQ(refusal({3, 2, 7}, true, 7),
            "ffn: expert_tokens[1] is 2, less than the 3 before it; ends can't fall");
  EXPECT_EQ(refusal({3, 3, 8}, true, 7),
            "ffn: expert_tokens[2] is 8, which makes 8 rows, but x has 7");
  EXPECT_EQ(refusal({8, 3, 3}, true, 7),
            "ffn: expert_tokens[0] is 8, which makes 8 rows, but x has 7");
}

TEST(FfnExpertTokens, WithStrides) {
  EXPECT_EQ(refusal({3, -9, 4, -9}, false, 7, 2), "ok");
  EXPECT_EQ(refusal({3, 0, 9, 0}, false, 7, 2),
            "ffn: expert_tokens[1] is 9, which makes 3 + 9 rows, but x has 7");
}

}  // namespace
}  // namespace weft::ops::testing
