// SPDX-License-Identifier: Apache-2.0
// Placement and Routing: which rank has which expert, and which rows of a rank's tokens go where.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ops/moe_routing/routing.h"

namespace weft::ops {
namespace {

using Rows = std::vector<std::pair<int, int>>;  // token, slot

MoeExperts experts(std::int64_t routed, std::int64_t shared = 0, std::int64_t on = 0) {
  return {.moe_expert_num = routed, .shared_expert_num = shared, .shared_expert_rank_num = on};
}

/// The ids of one rank, and what becomes of them.
struct Tokens {
  std::vector<std::int32_t> ids;
  std::int64_t k;
  std::vector<std::uint8_t> mask = {};  ///< of tokens, or of entries

  std::int64_t count() const { return std::ssize(ids) / k; }
  Routing route(const MoeExperts& e, int rank, int ranks) const {
    Routing routing(Placement(e, ranks), e, rank, count(), k);
    ConstTensorRef active;
    if (std::ssize(mask) == count())
      active = ConstTensorRef(mask.data(), DType::kBool, std::array{count()});
    else if (!mask.empty())
      active = ConstTensorRef(mask.data(), DType::kBool, std::array{count(), k});
    routing.route(ConstTensorRef(ids.data(), DType::kInt32, std::array{count(), k}), active);
    return routing;
  }
};

Rows at(const Routing& routing, std::int64_t place) {
  Rows rows;
  for (const Entry& e : routing.at(place)) rows.emplace_back(e.token, e.slot);
  return rows;
}

TEST(Placement, EveryPlaceHasOneRank) {
  for (int ranks = 1; ranks <= 12; ++ranks)
    for (std::int64_t shared_ranks = 0; shared_ranks < ranks; ++shared_ranks)
      for (std::int64_t routed = 1; routed <= 40; ++routed) {
        const Placement placement(experts(routed, shared_ranks > 0 ? 1 : 0, shared_ranks), ranks);
        std::int64_t next = 0, most = 0, least = routed;
        for (int rank = 0; rank < ranks; ++rank) {
          ASSERT_EQ(placement.first_place(rank), next);
          for (std::int64_t i = 0; i < placement.local_places(rank); ++i)
            ASSERT_EQ(placement.rank_of_place(next++), rank)
                << routed << " experts on " << ranks << " ranks, " << shared_ranks << " shared";
          if (rank < shared_ranks) continue;
          most = std::max(most, placement.local_places(rank));
          least = std::min(least, placement.local_places(rank));
        }
        ASSERT_EQ(next, placement.places());
        ASSERT_LE(most - least, 1);
      }
}

TEST(Placement, SharedExpertsGetTheTokensOfTheirSources) {
  const Placement two(experts(4, 2, 4), 8);  // two experts on two ranks each
  const Placement three(experts(5, 1, 3), 8);
  for (int source = 0; source < 8; ++source) {
    EXPECT_EQ(two.shared_place(0, source, 0, 1), source % 2);
    EXPECT_EQ(two.shared_place(1, source, 0, 1), source % 2 + 2);
    EXPECT_EQ(three.shared_place(0, source, 0, 1), source % 3);
  }
  EXPECT_EQ(two.scale_row(1), 0);
  EXPECT_EQ(two.scale_row(2), 1);
  EXPECT_EQ(two.scale_row(two.place_of(3)), 5);
}

TEST(Placement, SlicesOfTokensCoverEachTokenOnceInOrder) {
  for (const std::int64_t shared : {1, 2, 3, 5})
    for (const std::int64_t tokens : {1, 2, 7, 8, 64}) {
      MoeExperts e = experts(8, 1, shared);
      e.shared_tokens = SharedTokens::kBySlice;
      const Placement placement(e, 8);
      for (int source = 0; source < 8; ++source)
        for (std::int64_t t = 0; t < tokens; ++t) {
          const std::int64_t place = placement.shared_place(0, source, t, tokens);
          if (source < shared) {
            ASSERT_EQ(place, source);
            continue;
          }
          const std::int64_t before = source * tokens / shared;
          ASSERT_GE(t, (place + source) * tokens / shared - before);
          ASSERT_LT(t, (place + 1 + source) * tokens / shared - before);
        }
    }
}

TEST(Routing, RowsAreInTheOrderOfTheirTokens) {
  const Tokens tokens = {.ids = {0, 2, 3, 0, 1, 2}, .k = 2};
  const Routing routing = tokens.route(experts(4), 0, 2);
  EXPECT_EQ(at(routing, 0), (Rows{{0, 0}, {1, 1}}));
  EXPECT_EQ(at(routing, 1), (Rows{{2, 0}}));
  EXPECT_EQ(at(routing, 2), (Rows{{0, 1}, {2, 1}}));
  EXPECT_EQ(at(routing, 3), (Rows{{1, 0}}));
  EXPECT_EQ(routing.counts().rows_sent, 6);
}

TEST(Routing, AMaskOfTokensCounts) {
  for (const std::vector<std::uint8_t>& mask : {std::vector<std::uint8_t>{1, 1, 0}, {1, 0, 1}}) {
    const Tokens tokens = {.ids = {0, 2, 3, 0, 1, 2}, .k = 2, .mask = mask};
    const Routing routing = tokens.route(experts(4), 0, 2);
    EXPECT_EQ(at(routing, 0), (Rows{{0, 0}, {1, 1}}));
    EXPECT_EQ(at(routing, 1), Rows());
    EXPECT_EQ(at(routing, 2), (Rows{{0, 1}}));
    EXPECT_EQ(at(routing, 3), (Rows{{1, 0}}));
  }
}

TEST(Routing, AMaskOfEntriesLeavesOutEntries) {
  const Tokens tokens = {.ids = {0, 2, 3, 0, 1, 2}, .k = 2, .mask = {0, 0, 0, 7, 1, 1}};
  const Routing routing = tokens.route(experts(4, 1, 1), 1, 3);
  EXPECT_EQ(at(routing, 0), (Rows{{1, 2}, {2, 2}}));  // the shared expert: not of token 0
  EXPECT_EQ(at(routing, 1), (Rows{{1, 1}}));
  EXPECT_EQ(at(routing, 2), (Rows{{2, 0}}));
  EXPECT_EQ(at(routing, 3), (Rows{{2, 1}}));
  EXPECT_EQ(at(routing, 4), Rows());
}

TEST(Routing, CountsWhatIsOutOfRangeOrDoubled) {
  MoeExperts e = experts(3);
  e.zero_expert_num = 1;
  e.copy_expert_num = 1;
  const Tokens tokens = {.ids = {0, 0, 0, -1, 3, 4, 5, 1, 2147483647}, .k = 3};
  const Routing routing = tokens.route(e, 0, 1);
  EXPECT_EQ(at(routing, 0), (Rows{{0, 0}, {0, 1}, {0, 2}}));
  EXPECT_EQ(at(routing, 1), (Rows{{2, 1}}));
  EXPECT_EQ(routing.counts().rows_sent, 4);
  EXPECT_EQ(routing.counts().doubled, 2);
  EXPECT_EQ(routing.counts().out_of_range, 3);
}

TEST(Routing, MayBeUsedAgainAndHaveNoTokens) {
  Routing routing(Placement(experts(2), 2), experts(2), 0, 0, 3);
  for (int i = 0; i < 2; ++i) {
    routing.route(ConstTensorRef(nullptr, DType::kInt32, std::array<std::int64_t, 2>{0, 3}), {});
    EXPECT_EQ(routing.counts().rows_sent, 0);
    EXPECT_TRUE(routing.at(1).empty());
  }
}

}  // namespace
}  // namespace weft::ops
