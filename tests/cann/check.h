// SPDX-License-Identifier: Apache-2.0
// What the tests of the C interface share.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "acl/acl.h"
#include "runtime.h"

namespace weft::cann {

/// Starts and ends the runtime around a test, and forgets messages of others.
class RuntimeTest : public testing::Test {
 protected:
  void SetUp() override {
    aclGetRecentErrMsg();
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS) << text();
  }
  void TearDown() override { EXPECT_EQ(aclFinalize(), ACL_SUCCESS) << text(); }
  static std::string text() {
    const char* message = aclGetRecentErrMsg();
    return message ? message : "";
  }
};

/// The stream of weft behind a handle of the current context.
inline Stream& stream_of(aclrtStream handle) {
  StreamRef found;
  const Error error = Runtime::instance().stream(handle, found);
  if (!error.ok()) ADD_FAILURE() << error.message;
  return found->stream;
}

/// Holds a task up until open() is called.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }
  /// As an aclrtHostFunc.
  static void wait(void* gate) { static_cast<Gate*>(gate)->pass(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

}  // namespace weft::cann
