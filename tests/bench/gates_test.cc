// SPDX-License-Identifier: Apache-2.0
#include "gates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace weft::bench {
namespace {

const isa::Set kAvx512Vnni = isa::kAvx2 | isa::kAvx512 | isa::kAvx512Vnni;

TEST(Gates, TheInstructionSetsInUseDecideTheKindOfMachine) {
  EXPECT_EQ(kind_of(isa::kScalar), kAvx2);
  EXPECT_EQ(kind_of(isa::kScalar | isa::kAvx2), kAvx2);
  EXPECT_EQ(kind_of(kAvx512Vnni), kAvx2);
  EXPECT_EQ(kind_of(kAvx512Vnni | isa::kAvx512Bf16), kAvx512);
  EXPECT_EQ(kind_of(kAvx512Vnni | isa::kAvx512Bf16 | isa::kAmxInt8), kAvx512);
  EXPECT_EQ(kind_of(kAvx512Vnni | isa::kAvx512Bf16 | isa::kAmxInt8 | isa::kAmxBf16), kAmx);
}

TEST(Gates, EveryNameHasOneRowForEveryKind) {
  std::map<std::string, std::map<unsigned, int>> rows;
#define WEFT_GATE(name, kinds, bound, value) \
  for (unsigned kind : {kAvx2, kAvx512, kAmx}) rows[name][kind] += ((kinds)&kind) != 0;
#include "gates.inc"
#undef WEFT_GATE
  for (const auto& [name, kinds] : rows)
    for (const auto& [kind, count] : kinds) EXPECT_EQ(count, 1) << name << " on kind " << kind;
}

TEST(Gates, AreFoundByNameAndKind) {
  EXPECT_EQ(find_gate("gemm/float16/wide", kAmx)->value, 0.70);
  EXPECT_EQ(find_gate("gemm/float16/wide", kAvx512)->value, 0.88);
  EXPECT_EQ(find_gate("gemm/float16/wide", kAvx2)->value, 0.85);
  EXPECT_EQ(find_gate("beyond gemm", kAvx2)->bound, Bound::kAtMost);
  EXPECT_EQ(find_gate("decode/peer", kAmx)->bound, Bound::kNone);
  EXPECT_FALSE(find_gate("gemm/float64/wide", kAmx));
}

TEST(Gates, AVerdictSaysWhatWasAsked) {
  EXPECT_EQ(verdict(1.9, {Bound::kAtLeast, 1.85}), ">= 1.85  met");
  EXPECT_EQ(verdict(1.8, {Bound::kAtLeast, 1.85}), ">= 1.85  MISSED");
  EXPECT_EQ(verdict(20, {Bound::kAtMost, 20}), "<= 20.00  met");
  EXPECT_EQ(verdict(21, {Bound::kAtMost, 20}), "<= 20.00  MISSED");
  EXPECT_EQ(verdict(0, {Bound::kNone, 0}), "");
}

}  // namespace
}  // namespace weft::bench
