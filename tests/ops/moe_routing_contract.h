// SPDX-License-Identifier: Apache-2.0
// What the tests of the contracts of the routing operators share: legal calls without data, and how
// one that breaks a rule is refused.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "broken_rule.h"
#include "ops/moe_finalize_routing/contract.h"
#include "ops/moe_gating_topk_softmax/contract.h"
#include "ops/moe_init_routing/contract.h"

namespace weft::ops {

inline constexpr DType kF16 = DType::kFloat16, kF32 = DType::kFloat32, kBF16 = DType::kBFloat16;
inline constexpr DType kI32 = DType::kInt32, kI8 = DType::kInt8, kI64 = DType::kInt64;
inline constexpr std::int64_t kHuge = std::int64_t{1} << 31;

inline TensorRef shape(DType type, const std::vector<std::int64_t>& dims) {
  return {nullptr, type, dims};
}
inline TensorRef strided(DType type, const std::vector<std::int64_t>& dims,
                         const std::vector<std::int64_t>& strides) {
  return {nullptr, type, dims, strides};
}

template <typename Args>
struct Broken {
  const char* name;
  std::function<void(Args&)> breaks;
  int code;
  const char* message;  // after "operator: "
};

template <typename Args>
void expect_all_refused(std::string_view op, const Args& legal,
                        const std::vector<Broken<Args>>& rules) {
  const Status fine = check_plan(legal);
  ASSERT_TRUE(fine.ok()) << fine.to_string();
  for (const Broken<Args>& rule : rules) {
    SCOPED_TRACE(rule.name);
    Args args = legal;
    rule.breaks(args);
    const Status status = check_plan(args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), std::string(op) + ": " + rule.message);
    EXPECT_EQ(cann_code(static_cast<Rule>(status.rule()), CannEntry::kMoe), rule.code);
  }
}

using Gating = MoeGatingTopkSoftmaxArgs;

inline Gating gating() {
  return {.x = shape(kF16, {2, 3, 8}),
          .finished = shape(DType::kBool, {2, 3}),
          .k = 4,
          .y = shape(kF16, {2, 3, 4}),
          .expert_idx = shape(kI32, {2, 3, 4}),
          .row_idx = shape(kI32, {2, 3, 4})};
}

using Init = MoeInitRoutingArgs;

inline Init init() {
  return {.x = shape(kBF16, {5, 8}),
          .row_idx = shape(kI32, {5, 2}),
          .expert_idx = shape(kI32, {5, 2}),
          .active_num = 3,
          .expanded_x = shape(kBF16, {6, 8}),
          .expanded_row_idx = shape(kI32, {10}),
          .expanded_expert_idx = shape(kI32, {10})};
}

using Finalize = MoeFinalizeRoutingArgs;

inline Finalize finalize() {
  return {.expanded_x = shape(kF16, {8, 16}),
          .expanded_row_idx = shape(kI32, {8}),
          .x1 = shape(kF16, {4, 16}),
          .x2 = shape(kF16, {4, 16}),
          .bias = shape(kF16, {5, 16}),
          .scales = shape(kF16, {4, 2}),
          .expert_idx = shape(kI32, {4, 2}),
          .out = shape(kF16, {4, 16})};
}

}  // namespace weft::ops
