// SPDX-License-Identifier: Apache-2.0
#include "weft/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

namespace weft {
namespace {

TEST(Status, DefaultIsOk) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kOk);
  EXPECT_EQ(status.to_string(), "ok");
}

TEST(Status, TextHasCodeAndMessage) {
  const Status status(StatusCode::kPeerLost, "rank 3 died");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.message(), "rank 3 died");
  EXPECT_EQ(status.to_string(), "peer lost: rank 3 died");
}

TEST(Status, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(StatusCode::kInternal); ++code)
    names.insert(to_string(static_cast<StatusCode>(code)));
  EXPECT_EQ(names.size(), static_cast<size_t>(StatusCode::kInternal) + 1);
  EXPECT_FALSE(names.count("unknown status"));
}

Result<std::unique_ptr<int>> make(bool ok) {
  if (!ok) return Status(StatusCode::kTimeout, "late");
  return std::make_unique<int>(7);
}
Result<int> pass_on(bool ok, bool* reached_end) {
  WEFT_RETURN_IF_ERROR(Status());
  WEFT_ASSIGN_OR_RETURN(auto value, make(ok));
  WEFT_ASSIGN_OR_RETURN(auto again, make(ok));  // two in one scope must not clash
  *reached_end = true;
  return *value + *again;
}

TEST(Result, HoldsAMoveOnlyValue) {
  auto result = make(true);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result.status().ok());
  EXPECT_EQ(**result, 7);
}

TEST(Result, MacrosPassTheFirstErrorOn) {
  bool reached_end = false;
  EXPECT_EQ(*pass_on(true, &reached_end), 14);
  EXPECT_TRUE(reached_end);
  reached_end = false;
  const auto error = pass_on(false, &reached_end);
  EXPECT_FALSE(error.ok());
  EXPECT_EQ(error.status().to_string(), "timeout: late");
  EXPECT_FALSE(reached_end);
}

}  // namespace
}  // namespace weft
