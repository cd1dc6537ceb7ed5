// SPDX-License-Identifier: Apache-2.0
// One failing call per rule of a contract: the text a user sees, and the status code that CANN's
// entry point gives.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ops/rules.h"
#include "weft/status.h"

namespace weft::ops {

inline constexpr int kNull = 161001, kInvalid = 161002, kTiling = 561002;
inline constexpr int kNoCode = 0;  ///< a rule of weft's own

template <typename Args>
struct BrokenRule {
  const char* name;
  std::function<Args()> base;  ///< a legal call
  std::function<void(Args&)> breaks;
  const char* message;  ///< after "operator (rank 3): "
  int code;
};

/// `check`: the rules of plan() on rank 3.
template <typename Args, typename Check>
void expect_refused(const BrokenRule<Args>& rule, std::string_view op, CannEntry entry,
                    const Check& check) {
  Args args = rule.base();
  const Status legal = check(args);
  ASSERT_TRUE(legal.ok()) << legal.to_string();
  rule.breaks(args);
  const Status status = check(args);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), std::string(op) + " (rank 3): " + rule.message);
  EXPECT_EQ(cann_code(static_cast<Rule>(status.rule()), entry), rule.code)
      << to_string(static_cast<Rule>(status.rule()));
}

}  // namespace weft::ops
