// SPDX-License-Identifier: Apache-2.0
// Random operands of the operators on a mixture of experts, and the calls that weft check makes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "operators/args.h"
#include "operators/moe.h"
#include "ops/reference_bounds.h"

namespace weft::tools {
namespace {

Case make_case(const char* row, const char* shape, std::int64_t experts, int top_k) {
  Case made;
  made.row = *find_dtype_row(row);
  made.shape = *parse_moe_shape(shape);
  made.moe.attributes.experts.moe_expert_num = experts;
  made.moe.top_k = top_k;
  return made;
}

void share(Case& made, std::int64_t experts, std::int64_t ranks) {
  made.moe.attributes.experts.shared_expert_num = experts;
  made.moe.attributes.experts.shared_expert_rank_num = ranks;
}

Operands make(const Case& made, int rank, int ranks) {
  Result<Operands> operands = RandomSource(made).make(rank, ranks);
  EXPECT_TRUE(operands.ok()) << operands.status().to_string();
  return std::move(operands).value();
}

std::vector<std::int32_t> int32s(const Operands& operands, OperandId id) {
  const auto* from = static_cast<const std::int32_t*>(operands.tensor(id).data());
  return {from, from + operands.tensor(id).elements()};
}

TEST(MoeCasesTest, ThereIsRoomForAllRowsThatCanCome) {
  MoeAttributes attributes;
  attributes.experts.moe_expert_num = 4;
  EXPECT_EQ(row_capacity(attributes, 3, 2, 0, 2), 12);
  EXPECT_EQ(row_capacity(attributes, 3, 1, 1, 2), 6);
  attributes.global_bs = 10;
  EXPECT_EQ(row_capacity(attributes, 3, 2, 0, 2), 20);
  // 3 of 8 ranks share the tokens of one expert: some get those of 3 ranks.
  attributes = {};
  attributes.experts = {.moe_expert_num = 10, .shared_expert_num = 1, .shared_expert_rank_num = 3};
  EXPECT_EQ(row_capacity(attributes, 8, 2, 0, 8), 24);
  EXPECT_EQ(row_capacity(attributes, 8, 2, 3, 8), 8 * 8 * 2);
  // Two experts on two ranks each.
  attributes.experts.shared_expert_num = 2;
  attributes.experts.shared_expert_rank_num = 4;
  EXPECT_EQ(row_capacity(attributes, 8, 2, 0, 8), 32);
  // Fewer experts than ranks: some have none.
  attributes.experts = {.moe_expert_num = 1};
  EXPECT_EQ(row_capacity(attributes, 5, 1, 0, 2) + row_capacity(attributes, 5, 1, 1, 2), 10);
  // Nonsense is for the plan to refuse.
  attributes.experts.shared_expert_rank_num = 2;
  EXPECT_EQ(row_capacity(attributes, 5, 1, 0, 2), 0);
}

TEST(MoeCasesTest, TheIdsOfATokenAreDistinct) {
  Case made = make_case("D16", "50x8", 6, 4);
  made.moe.attributes.experts.zero_expert_num = 2;
  std::set<std::int32_t> seen;
  for (int rank = 0; rank < 2; ++rank) {
    const std::vector<std::int32_t> ids = int32s(make(made, rank, 2), OperandId::kExpertIds);
    ASSERT_EQ(ids.size(), 200u);
    for (std::size_t t = 0; t < 50; ++t) {
      const std::set<std::int32_t> of_token(ids.begin() + static_cast<std::ptrdiff_t>(4 * t),
                                            ids.begin() + static_cast<std::ptrdiff_t>(4 * t + 4));
      EXPECT_EQ(of_token.size(), 4u);
      seen.insert(of_token.begin(), of_token.end());
    }
  }
  EXPECT_EQ(seen, (std::set<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  made.moe.strays = true;
  int strays = 0;
  for (std::int32_t id : int32s(make(made, 0, 2), OperandId::kExpertIds))
    strays += id < 0 || id > 7;
  EXPECT_EQ(strays, 25);
}

TEST(MoeCasesTest, WeightsOfATokenAddUpToOne) {
  const Operands operands = make(make_case("CB", "9x8", 6, 3), 1, 2);
  const auto* weights = static_cast<const float*>(operands.tensor(OperandId::kExpertScales).data());
  for (int t = 0; t < 9; ++t)
    EXPECT_NEAR(weights[3 * t] + weights[3 * t + 1] + weights[3 * t + 2], 1, 1e-6);
}

/// (rank, token, slot) -> how often the rows of all ranks name it.
using Named = std::map<std::array<std::int32_t, 3>, int>;

Named named_rows(const Case& made, int ranks) {
  Named named;
  for (int rank = 0; rank < ranks; ++rank) {
    const Operands operands = make(made, rank, ranks);
    const std::vector<std::int32_t> ends = int32s(operands, OperandId::kEpSendCounts),
                                    triples = int32s(operands, OperandId::kAssistInfoForCombine);
    EXPECT_TRUE(std::is_sorted(ends.begin(), ends.end()));
    EXPECT_LE(ends.back(), operands.tensor(OperandId::kExpandX).dim(0));
    for (std::size_t i = 0; i < static_cast<std::size_t>(ends.back()); ++i)
      ++named[{triples[3 * i], triples[3 * i + 1], triples[3 * i + 2]}];
  }
  return named;
}

TEST(MoeCasesTest, EveryActiveEntryHasOneRowSomewhere) {
  constexpr int kRanks = 5;
  for (const int axes : {0, 1, 2}) {
    Case made = make_case("C16", "7,0,4x8", 8, 3);
    share(made, 2, 4);
    made.moe.attributes.experts.copy_expert_num = 1;
    made.moe.strays = true;
    made.moe.mask_axes = axes;
    if (axes > 0) made.with = {OperandId::kXActiveMask};
    Named want;
    std::int64_t rows = 0;
    for (int rank = 0; rank < kRanks; ++rank) {
      const Operands operands = make(made, rank, kRanks);
      const std::vector<std::int32_t> ids = int32s(operands, OperandId::kExpertIds);
      const ops::ActiveMask active = active_mask(operands);
      for (std::int32_t t = 0; t < made.shape.tokens_of(rank); ++t) {
        if (active.token(t)) want[{rank, t, 3}] = want[{rank, t, 4}] = 1;
        for (std::int32_t k = 0; k < 3; ++k) {
          const std::int32_t id = ids[static_cast<std::size_t>(3 * t + k)];
          if (active.entry(t, k) && id >= 0 && id < 8) want[{rank, t, k}] = 1;
        }
      }
      rows += rows_of_tokens(operands);
    }
    EXPECT_EQ(named_rows(made, kRanks), want) << axes << " axes";
    EXPECT_EQ(rows, std::ssize(want));
    EXPECT_GT(rows, 10);
  }
}

TEST(MoeCasesTest, MasksLeaveSomethingOut) {
  Case made = make_case("D16", "40x8", 4, 2);
  made.with = {OperandId::kXActiveMask};
  const Operands entries = make(made, 0, 2);
  EXPECT_EQ(weft::to_string(entries.tensor(OperandId::kXActiveMask)), "bool (40, 2)");
  EXPECT_LT(active_tokens(entries), 40);
  EXPECT_LT(rows_of_tokens(entries), 2 * active_tokens(entries));
  made.moe.mask_axes = 1;
  const Operands tokens = make(made, 0, 2);
  EXPECT_EQ(weft::to_string(tokens.tensor(OperandId::kXActiveMask)), "bool (40)");
  EXPECT_LT(active_tokens(tokens), 40);
  EXPECT_EQ(rows_of_tokens(tokens), 2 * active_tokens(tokens));
}

TEST(MoeCasesTest, WhatNobodyMayReadIsNan) {
  const Operands operands = make(make_case("C16", "6x8", 4, 2), 0, 2);
  const ConstTensorRef& expand_x = operands.tensor(OperandId::kExpandX);
  const std::int64_t rows = int32s(operands, OperandId::kEpSendCounts).back();
  ASSERT_LT(rows, expand_x.dim(0));
  for (std::int64_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(std::isfinite(ops::element_value(expand_x, (rows - 1) * 8 + i)));
    EXPECT_TRUE(std::isnan(ops::element_value(expand_x, rows * 8 + i)));
  }
}

TEST(MoeCasesTest, MistakesHaveTheirMessages) {
  const auto message = [](const Case& made, int ranks) {
    return RandomSource(made, false).make(0, ranks).status().message();
  };
  Case made = make_case("D16", "5x8", 4, 5);
  EXPECT_EQ(message(made, 2),
            "--top-k is 5, but there are 4 experts and those of a token are distinct.\nPass at "
            "most 4.");
  made.moe.top_k = 2;
  made.moe.attributes.global_bs = 8;
  EXPECT_EQ(message(made, 2),
            "--global-bs is 8, but rank 0 has 5 tokens and there are 2 ranks: it must be 0, or 10 "
            "or more and a multiple of 2.\nPass the most tokens of a rank times the ranks.");
  made.moe.attributes.global_bs = 11;
  EXPECT_NE(message(made, 2).find("--global-bs is 11, "), std::string::npos);
  made.moe.attributes.global_bs = 12;
  EXPECT_EQ(message(made, 2), "");
  share(made, 1, 2);
  EXPECT_EQ(message(made, 2),
            "--shared-expert-rank-num is 2, but of 2 ranks at least one holds routed "
            "experts.\nPass less, or more --ranks.");
  share(made, 2, 3);
  EXPECT_EQ(message(made, 4),
            "--shared-expert-num is 2 and --shared-expert-rank-num 3: each shared expert lives on "
            "the same number of ranks.\nPass a multiple, or 0 ranks.");
  share(made, 2, 0);
  EXPECT_NE(message(made, 4).find("--shared-expert-num is 2 and "), std::string::npos);
}

TEST(MoeCasesTest, RowsThatNobodyWroteMustBeZero) {
  const Case made = make_case("D16", "3x8", 4, 2);
  std::vector<Operands> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.push_back(make(made, rank, 2));
    ASSERT_TRUE(ranks[static_cast<std::size_t>(rank)]
                    .make_outputs(made.op().outputs(ranks.back(), 2, OutputForm::kSeparate))
                    .ok());
  }
  const auto checker = made.op().checker(ranks);
  EXPECT_EQ(checker->whole(1).where, "ep_recv_counts");
  EXPECT_EQ(checker->row(1, 0).where, "expand_x");
  EXPECT_EQ(checker->row(1, 11).worst, 0);
  auto* triples = static_cast<std::int32_t*>(ranks[1].output(2).data());
  triples[3 * 11 + 2] = 1;
  EXPECT_EQ(checker->row(1, 10).worst, 0);
  EXPECT_EQ(checker->row(1, 11).where, "a row behind the last one");
}

TEST(MoeCasesTest, TokensThatAreNotActiveMustBeZero) {
  Case made = make_case("CN16", "5x8", 4, 2);
  made.with = {OperandId::kXActiveMask};
  std::vector<Operands> ranks;
  ranks.push_back(make(made, 0, 1));
  ASSERT_TRUE(ranks[0].make_outputs(made.op().outputs(ranks[0], 1, OutputForm::kSeparate)).ok());
  ASSERT_FALSE(active_mask(ranks[0]).token(4));
  EXPECT_EQ(made.op().checker(ranks)->row(0, 4).worst, 0);
  static_cast<float*>(ranks[0].output(1).data())[4] = 1;
  EXPECT_EQ(made.op().checker(ranks)->row(0, 4).where, "a row of a token that is not active");
}

TEST(MoeCasesTest, ADispatchMovesEachTokenOnceAndEachRowTwice) {
  Case made = make_case("D16", "10x8", 4, 3);
  EXPECT_EQ(made.op().bytes_moved(make(made, 0, 2), 2), 2 * 8 * (10 + 2 * 30));
  made.moe.attributes.quantise = true;
  EXPECT_EQ(made.op().bytes_moved(make(made, 0, 2), 2), (8 + 4) * 3 * 30);
}

TEST(MoeCasesTest, VariantsHaveWhatTheContractHas) {
  for (const char* name : {"D16", "CB", "CN16"}) {
    const DTypeRow& row = **find_dtype_row(name);
    for (int ranks : {1, 2, 3, 8}) {
      int uneven = 0, shared = 0, split = 0, special = 0, int8 = 0, by_token = 0;
      for (const Variant& v : operator_of(row).variants(*parse_moe_shape("5x8"), row, ranks, 1)) {
        const MoeAttributes& a = v.made.moe.attributes;
        const std::int64_t holders = ranks - a.experts.shared_expert_rank_num;
        uneven += a.experts.moe_expert_num % holders != 0;
        shared += a.experts.shared_expert_num > 0;
        split += a.experts.shared_expert_rank_num > a.experts.shared_expert_num;
        special += a.experts.const_expert_num > 0;
        int8 += a.quantise || a.int8_communication;
        by_token += v.made.moe.mask_axes == 1;
        for (int rank = 0; rank < ranks; ++rank)
          EXPECT_TRUE(RandomSource(v.made).make(rank, ranks).ok()) << v.text(ranks);
      }
      EXPECT_EQ(uneven > 0, ranks > 1);
      EXPECT_EQ(shared > 0, ranks > 1);
      EXPECT_EQ(split > 0, ranks > 2);
      EXPECT_EQ(special, 2);
      EXPECT_GT(int8, 0) << name;
      EXPECT_EQ(by_token, 1);
    }
  }
}

TEST(MoeCasesTest, ACaseSaysWhatItHas) {
  Case made = make_case("D16", "5,0x8", 0, 0);
  EXPECT_EQ(made.text(2), "D16 5,0x8 ranks 2, 8 experts per rank, seed 1");
  made.moe.attributes.experts = {16, 1, 2, SharedTokens::kBySource, 1, 2, 3};
  made.moe.top_k = 4;
  made.moe.mask_axes = 1;
  made.moe.attributes.quantise = made.moe.attributes.tokens_are_ends = true;
  made.with = {OperandId::kXActiveMask};
  EXPECT_EQ(made.text(4),
            "D16 5,0x8 ranks 4, 16 experts, 4 per token, 1 shared on 2 rank(s), 1 zero, 2 copy, "
            "3 const, int8 rows, by ends, mask of tokens, x_active_mask, seed 1");
}

}  // namespace
}  // namespace weft::tools
