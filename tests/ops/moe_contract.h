// SPDX-License-Identifier: Apache-2.0
// Legal calls of moe_dispatch and moe_combine without data, and what a broken rule has to say.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ops/moe_combine/contract.h"
#include "ops/moe_combine_add_rmsnorm/contract.h"
#include "ops/moe_dispatch/contract.h"
#include "ops/rules.h"

namespace weft::ops::testing {

using Dims = std::vector<std::int64_t>;
using Dispatch = MoeDispatchArgs;
using Combine = MoeCombineArgs;
using Norm = MoeCombineAddRmsNormArgs;

inline constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32,
                       kI8 = DType::kInt8, kI32 = DType::kInt32, kI64 = DType::kInt64,
                       kBool = DType::kBool;
inline constexpr int kRank = 3, kRanks = 4;

inline TensorRef strided(DType type, const Dims& dims, const Dims& strides) {
  return {nullptr, type, dims, strides};
}
inline TensorRef tensor(DType type, const Dims& dims) { return {nullptr, type, dims}; }

/// 5 tokens of 16 elements, 2 of 8 experts each; two experts on every rank.
inline Dispatch rows_of_t() {
  return {.x = tensor(kBf16, {5, 16}),
          .expert_ids = tensor(kI32, {5, 2}),
          .experts = {.moe_expert_num = 8},
          .expand_x = tensor(kBf16, {12, 16}),
          .assist_info_for_combine = tensor(kI32, {36}),
          .expert_token_nums = tensor(kI64, {2}),
          .ep_recv_counts = tensor(kI32, {8})};
}
inline Dispatch rows_of_int8() {
  Dispatch a = rows_of_t();
  a.x = tensor(kF16, {5, 16});
  a.scales = tensor(kF32, {8, 16});
  a.x_active_mask = tensor(kBool, {5, 2});
  a.expand_x = tensor(kI8, {12, 16});
  a.dynamic_scales = tensor(kF32, {12});
  return a;
}
inline Dispatch in_pairs() {
  Dispatch a = rows_of_t();
  a.experts.moe_expert_num = 4;
  a.expert_token_nums = tensor(kI64, {1});
  a.tp_recv_counts = tensor(kI32, {2});
  return a;
}

inline Combine back() {
  return {.expand_x = tensor(kBf16, {12, 16}),
          .expert_ids = tensor(kI32, {5, 2}),
          .assist_info_for_combine = tensor(kI32, {36}),
          .ep_send_counts = tensor(kI32, {8}),
          .expert_scales = tensor(kF32, {5, 2}),
          .experts = {.moe_expert_num = 8},
          .x = tensor(kBf16, {5, 16})};
}
inline Combine with_all() {
  Combine a = back();
  a.x_active_mask = tensor(kBool, {5});
  a.shared_expert_x = tensor(kBf16, {5, 1, 16});
  a.ori_x = tensor(kBf16, {5, 16});
  a.const_expert_alpha_1 = a.const_expert_alpha_2 = tensor(kBf16, {2});
  a.const_expert_v = tensor(kBf16, {2, 16});
  a.experts.copy_expert_num = 1, a.experts.const_expert_num = 2;
  return a;
}
inline Combine back_in_pairs() {
  Combine a = back();
  a.experts.moe_expert_num = 4;
  a.tp_send_counts = tensor(kI32, {2});
  return a;
}
inline Norm normed() {
  return {.combine = back(),
          .residual_x = tensor(kBf16, {5, 16}),
          .gamma = tensor(kBf16, {16}),
          .y = tensor(kBf16, {5, 16}),
          .rstd = tensor(kF32, {5})};
}

template <typename Args>
struct MoeRule {
  const char* name;
  std::function<Args()> base;  ///< a legal call
  std::function<void(Args&)> breaks;
  Rule rule;
  std::string message;  ///< after "operator (rank 3): "
};

inline bool has_pair(const Dispatch& a) { return a.tp_recv_counts.given(); }
inline bool has_pair(const Combine& a) { return a.tp_send_counts.given(); }
inline bool has_pair(const Norm& a) { return has_pair(a.combine); }

template <typename Args>
void expect_refused(const MoeRule<Args>& broken, std::string_view op) {
  Args args = broken.base();
  const bool tp = has_pair(args);
  const Status legal = check_plan(args, kRank, kRanks, tp);
  ASSERT_TRUE(legal.ok()) << legal.to_string();
  broken.breaks(args);
  const Status status = check_plan(args, kRank, kRanks, tp);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), std::string(op) + " (rank 3): " + broken.message);
  EXPECT_EQ(to_string(static_cast<Rule>(status.rule())), to_string(broken.rule));
}

template <typename Args>
void expect_legal(const Args& args) {
  const Status status = check_plan(args, kRank, kRanks, has_pair(args));
  EXPECT_TRUE(status.ok()) << status.to_string();
}

}  // namespace weft::ops::testing
