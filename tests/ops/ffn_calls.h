// SPDX-License-Identifier: Apache-2.0
// Legal calls of ffn without data, and what breaks them, for the tests of its contract.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ops/ffn/contract.h"
#include "ops/rules.h"
#include "weft/ops/ffn.h"

namespace weft::ops::testing {

using Args = FfnArgs;
using Dims = std::vector<std::int64_t>;
constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32;
constexpr DType kI8 = DType::kInt8, kI4 = DType::kInt4, kI32 = DType::kInt32, kI64 = DType::kInt64,
                kU64 = DType::kUInt64;

inline TensorRef strided(DType type, const Dims& dims, const Dims& strides) {
  return {nullptr, type, dims, strides};
}

// Legal calls without data: (2, 3, 8) · (8, 12) · (12, 10), or three experts of that.
inline Args of_type(DType io) {
  Args a;
  a.x = {nullptr, io, {2, 3, 8}};
  a.weight1 = {nullptr, io, {8, 12}};
  a.weight2 = {nullptr, io, {12, 10}};
  a.bias1 = {nullptr, io, {12}};
  a.bias2 = {nullptr, kF32, {10}};
  a.y = TensorRef(nullptr, io, {2, 3, 10});
  return a;
}
inline Args floats() { return of_type(kF16); }
inline Args bfloats() { return of_type(kBf16); }
inline Args gated() {
  Args a = floats();
  a.activation = Activation::kSwiglu;
  a.weight2 = {nullptr, kF16, {6, 10}};
  return a;
}
inline Args with_experts() {
  Args a = floats();
  a.weight1 = {nullptr, kF16, {3, 8, 12}};
  a.weight2 = {nullptr, kF16, {3, 12, 10}};
  a.bias1 = {nullptr, kF16, {3, 12}};
  a.bias2 = {nullptr, kF16, {3, 10}};
  a.expert_tokens = {nullptr, kI64, {3}};
  return a;
}
inline Args quant() {
  Args a = floats();
  a.x = {nullptr, kI8, {2, 3, 8}};
  a.weight1 = {nullptr, kI8, {8, 12}};
  a.weight2 = {nullptr, kI8, {12, 10}};
  a.bias1 = {nullptr, kI32, {12}};
  a.bias2 = {nullptr, kI32, {10}};
  a.scale = a.offset = {nullptr, kF32, {1}};
  a.deq_scale1 = {nullptr, kU64, {12}};
  a.deq_scale2 = {nullptr, kU64, {10}};
  return a;
}
inline Args quant_experts() {
  Args a = with_experts();
  a.x = {nullptr, kI8, {2, 3, 8}};
  a.weight1 = {nullptr, kI8, {3, 8, 12}};
  a.weight2 = {nullptr, kI8, {3, 12, 10}};
  a.bias1 = a.bias2 = {};
  a.scale = {nullptr, kF32, {3, 12}};
  a.offset = {nullptr, kF32, {3}};
  a.deq_scale1 = {nullptr, kF32, {3, 12}};
  a.deq_scale2 = {nullptr, kF32, {3, 10}};
  return a;
}
inline Args restored(DType weight) {
  Args a = floats();
  a.weight1 = {nullptr, weight, {8, 12}};
  a.weight2 = {nullptr, weight, {12, 10}};
  a.antiquant_scale1 = a.antiquant_offset1 = {nullptr, kF16, {12}};
  a.antiquant_scale2 = a.antiquant_offset2 = {nullptr, kF16, {3, 10}};
  return a;
}
inline Args from_int8() { return restored(kI8); }
inline Args from_int4() { return restored(kI4); }
inline Args int4_experts() {
  Args a = with_experts();
  a.weight1 = {nullptr, kI4, {3, 8, 12}};
  a.weight2 = {nullptr, kI4, {3, 12, 10}};
  a.antiquant_scale1 = {nullptr, kF16, {3, 2, 12}};
  a.antiquant_scale2 = {nullptr, kF16, {3, 1}};
  return a;
}

struct FfnRule {
  const char* name;
  std::function<Args()> base;  ///< a legal call
  std::function<void(Args&)> breaks;
  Rule rule;
  const char* message;  ///< after "ffn: "
};

inline void expect_refused(const FfnRule& broken) {
  Args a = broken.base();
  const Status legal = check_plan(a);
  ASSERT_TRUE(legal.ok()) << legal.to_string();
  broken.breaks(a);
  const Status status = check_plan(a);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), std::string("ffn: ") + broken.message);
  EXPECT_EQ(to_string(static_cast<Rule>(status.rule())), to_string(broken.rule));
  EXPECT_NE(cann_code(broken.rule, CannEntry::kFfn), 0);
}

}  // namespace weft::ops::testing
