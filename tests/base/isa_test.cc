// SPDX-License-Identifier: Apache-2.0
#include "base/isa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scoped_env.h"

namespace weft {
namespace {

using testing::HasSubstr;

TEST(Isa, RowsImplyEverythingTheirImpliedRowsImply) {
  isa::Set seen = 0;
  for (const isa::Row& row : isa::rows()) {
    EXPECT_EQ(row.implies & ~seen, 0u) << row.name << " implies a later row";
    EXPECT_EQ(seen & row.bit, 0u) << row.name;
    for (const isa::Row& other : isa::rows())
      if (row.implies & other.bit) {
        EXPECT_EQ(other.implies & ~row.implies, 0u) << row.name;
      }
    seen |= row.bit;
  }
}

TEST(Isa, AvailableRowsHaveNoReasonAndOthersHaveOne) {
  for (const isa::Row& row : isa::rows()) {
    EXPECT_EQ(row.available, row.reason.empty()) << row.name;
    if (row.available) {
      EXPECT_EQ(row.implies & ~isa::available(), 0u) << row.name;
    }
  }
  EXPECT_TRUE(isa::available() & isa::kScalar);
}

TEST(Isa, CapKeepsARowAndWhatItImplies) {
  for (const isa::Row& row : isa::rows()) {
    const auto set = isa::capped(row.name);
    if (row.available) {
      ASSERT_TRUE(set.ok()) << set.status().to_string();
      EXPECT_EQ(*set, row.bit | row.implies) << row.name;
    } else {
      ASSERT_FALSE(set.ok()) << row.name;
      EXPECT_EQ(set.status().code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(set.status().message(), HasSubstr(std::string(row.name)));
      EXPECT_THAT(set.status().message(), HasSubstr(std::string(row.reason)));
    }
  }
  EXPECT_EQ(*isa::capped("amx"), isa::available());
}

TEST(Isa, EmptyNameReadsTheEnvironmentAndAGivenNameWins) {
  {
    const ScopedEnv unset("WEFT_ISA", nullptr);
    EXPECT_EQ(*isa::capped(""), isa::available());
  }
  const ScopedEnv set("WEFT_ISA", "scalar");
  EXPECT_EQ(*isa::capped(""), isa::kScalar);
  EXPECT_EQ(*isa::capped("amx"), isa::available());
}

TEST(Isa, UnknownNameIsAnErrorThatListsAllNames) {
  const auto given = isa::capped("sse9");
  ASSERT_FALSE(given.ok());
  EXPECT_EQ(given.status().to_string(),
            "invalid argument: \"sse9\" is not an instruction set weft knows; use one of amx, "
            "scalar, avx2, avx512, avx512vnni, avx512bf16, amxint8, amxbf16");
  const ScopedEnv set("WEFT_ISA", "AVX2");
  const auto from_environment = isa::capped("");
  ASSERT_FALSE(from_environment.ok());
  EXPECT_EQ(from_environment.status().message(),
            "environment variable WEFT_ISA: \"AVX2\" is not an instruction set weft knows; use one "
            "of amx, scalar, avx2, avx512, avx512vnni, avx512bf16, amxint8, amxbf16");
}

TEST(Isa, NamesAreBestFirst) {
  EXPECT_EQ(isa::names(isa::kScalar), "scalar");
  EXPECT_EQ(isa::names(isa::kScalar | isa::kAvx2 | isa::kAmxBf16), "amxbf16 avx2 scalar");
  EXPECT_EQ(isa::names(0), "");
}

}  // namespace
}  // namespace weft
