// SPDX-License-Identifier: Apache-2.0
#include "base/env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "scoped_env.h"
#include "weft/log.h"

namespace weft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Env, TableNamesAreUniqueAndExplained) {
  std::set<std::string_view> names;
  for (const env::Variable& row : env::table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_FALSE(row.meaning.empty()) << row.name;
  }
}

TEST(Env, DefaultWhenUnsetOrEmpty) {
  for (const char* value : {static_cast<const char*>(nullptr), ""}) {
    const ScopedEnv set("HCCL_EXEC_TIMEOUT", value);
    EXPECT_EQ(env::text("HCCL_EXEC_TIMEOUT"), "1836");
    EXPECT_EQ(*env::seconds("HCCL_EXEC_TIMEOUT"), 1836);
  }
}

TEST(Env, ReadsNumbers) {
  const ScopedEnv threads("WEFT_THREADS", "12"), timeout("HCCL_EXEC_TIMEOUT", "0.25");
  EXPECT_EQ(*env::integer("WEFT_THREADS", 0, 12), 12);
  EXPECT_EQ(*env::seconds("HCCL_EXEC_TIMEOUT"), 0.25);
}

TEST(Env, BadNumberNamesTheVariableAndItsText) {
  const ScopedEnv set("WEFT_THREADS", "many");
  const auto result = env::integer("WEFT_THREADS", 0, 1024);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().to_string(),
            "invalid argument: environment variable WEFT_THREADS is \"many\" but must be a number "
            "from 0 to 1024");
}

TEST(Env, RefusesWhatIsNotExactlyANumberInRange) {
  for (const char* text :
       {"-1", "9", "3x", " 3", "3 ", "+3", "0x3", "1e1", "99999999999999999999"}) {
    const ScopedEnv set("WEFT_THREADS", text);
    const auto result = env::integer("WEFT_THREADS", 0, 8);
    ASSERT_FALSE(result.ok()) << '"' << text << '"';
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(result.status().message(), HasSubstr(text));
  }
  for (const char* text : {"-0.5", "nan", "inf", "1s", "1,5"}) {
    const ScopedEnv set("HCCL_EXEC_TIMEOUT", text);
    const auto result = env::seconds("HCCL_EXEC_TIMEOUT");
    ASSERT_FALSE(result.ok()) << '"' << text << '"';
    EXPECT_THAT(result.status().message(), HasSubstr("HCCL_EXEC_TIMEOUT"));
  }
}

TEST(Env, WarnsOnceAboutUnknownVariables) {
  std::vector<std::string> messages;
  set_log_callback([&](LogLevel level, std::string_view text) {
    EXPECT_EQ(level, LogLevel::kWarning);
    messages.emplace_back(text);
  });
  const ScopedEnv typo("WEFT_THREDS", "4"), known("WEFT_THREADS", "4"), other("WEFTX", "4");
  env::warn_unknown_once();
  env::warn_unknown_once();
  set_log_callback({});
  EXPECT_THAT(messages, ElementsAre("environment variable WEFT_THREDS is not one of weft's (see "
                                    "docs/environment.md)"));
}

}  // namespace
}  // namespace weft
