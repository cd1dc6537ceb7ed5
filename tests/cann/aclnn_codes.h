// SPDX-License-Identifier: Apache-2.0
// Every rule of a table broken alone, and every two of them together.
#pragma once

#include <optional>
#include <string>

#include "aclnn_rules.h"

namespace weft::cann {

class Codes : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    world_.emplace();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  }
  void TearDown() override {
    world_.reset();
    RuntimeTest::TearDown();
  }

  int code_of(const EntryCall& call) {
    uint64_t size = 77;
    aclOpExecutor* executor = nullptr;
    const int code = first_phase(call, &size, &executor);
    if (code == ACLNN_SUCCESS) {
      empty_ = size == 0;
      EXPECT_EQ(aclDestroyAclOpExecutor(executor), ACLNN_SUCCESS);
    }
    return code;
  }
  void expect(const EntryCall& call, int code, const std::string& what) {
    const int found = code_of(call);
    EXPECT_EQ(found, code) << call.op << ": " << what << "\n" << text();
    EXPECT_TRUE(found != kOk || code != kOk || empty_) << what;
  }
  /// Of two ranks, if the call has no group.
  void check_all(EntryCall base, const Rules& rules) {
    if (!base.group) base.group = world_->two.name();
    ASSERT_EQ(code_of(base), ACLNN_SUCCESS) << text();
    EXPECT_FALSE(empty_);
    for (const Rule& rule : rules) {
      EntryCall call = base;
      rule.breaks(call);
      expect(call, rule.code, rule.name);
      EXPECT_EQ(rule.code == kOk, text().empty()) << rule.name;
    }
    for (const Rule& a : rules)
      for (const Rule& b : rules) {
        if (&a >= &b || share(a, b)) continue;
        EntryCall call = base;
        a.breaks(call);
        b.breaks(call);
        expect(call, a.step <= b.step ? a.code : b.code, a.name + " and " + b.name);
      }
  }

  static bool share(const Rule& a, const Rule& b) {
    for (const std::string& what : a.touches)
      if (b.touches.contains(what)) return true;
    return false;
  }

  std::optional<World> world_;
  bool empty_ = false;
};

}  // namespace weft::cann
