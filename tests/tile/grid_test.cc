// SPDX-License-Identifier: Apache-2.0
// Grid: every row has one owner and one place, whatever does not divide evenly.
#include "tile/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace weft::tile {
namespace {

struct Problem {
  Deal deal;
  std::int64_t m;
  int ranks;
  std::int64_t wanted_rows;
};

std::string text(const Problem& p) {
  return std::string(p.deal == Deal::kByRank ? "by rank" : "within blocks") + ", " +
         std::to_string(p.m) + " rows, " + std::to_string(p.ranks) + " ranks, super-blocks of " +
         std::to_string(p.wanted_rows);
}

std::vector<Problem> problems(Deal deal) {
  std::vector<Problem> all;
  for (int ranks = 1; ranks <= 9; ++ranks)
    for (const std::int64_t parts : {0, 1, 2, 3, 5, 8, 9, 13, 31, 64, 127, 1000, 2053})
      for (const std::int64_t wanted : {1, 2, 3, 7, 8, 16, 100, 2048, 1 << 20})
        all.push_back({deal, deal == Deal::kByRank ? parts / 3 * ranks : parts, ranks, wanted});
  return all;
}

/// body(grid, problem) for all problems of a deal.
template <typename Body>
void for_grids(const Body& body) {
  for (const Deal deal : {Deal::kWithinBlocks, Deal::kByRank})
    for (const Problem& p : problems(deal)) {
      SCOPED_TRACE(text(p));
      body(Grid(p.deal, p.m, p.ranks, p.wanted_rows), p);
      if (::testing::Test::HasFailure()) return;
    }
}

TEST(Grid, EveryRowIsInOneTile) {
  for_grids([](const Grid& grid, const Problem& p) {
    std::vector<int> owners(static_cast<std::size_t>(p.m));
    for (std::int64_t s = 0; s < grid.super_blocks(); ++s)
      for (int owner = 0; owner < p.ranks; ++owner) {
        const Rows tile = grid.tile(s, owner);
        ASSERT_LE(tile.begin, tile.end);
        ASSERT_TRUE(tile.count() == 0 || (tile.begin >= 0 && tile.end <= p.m));
        EXPECT_LE(tile.count(), grid.max_tile_rows());
        for (std::int64_t row = tile.begin; row < tile.end; ++row)
          ++owners[static_cast<std::size_t>(row)];
      }
    EXPECT_TRUE(std::ranges::all_of(owners, [](int n) { return n == 1; }));
  });
}

TEST(Grid, RowsOfASuperBlockLieOneAfterTheOtherAndEachTileInOnePiece) {
  for_grids([](const Grid& grid, const Problem& p) {
    for (std::int64_t s = 0; s < grid.super_blocks(); ++s) {
      std::vector<std::int64_t> places;
      for (int owner = 0; owner < p.ranks; ++owner) {
        const Rows tile = grid.tile(s, owner);
        for (std::int64_t row = tile.begin; row < tile.end; ++row) {
          places.push_back(grid.place(s, row));
          if (row > tile.begin) {
            ASSERT_EQ(places.back(), places[places.size() - 2] + 1);
          }
        }
      }
      // Owner after owner, without gaps: so the places of all rows are different ones.
      for (std::size_t i = 0; i < places.size(); ++i)
        ASSERT_EQ(places[i], static_cast<std::int64_t>(i)) << "super-block " << s;
      EXPECT_LE(std::ssize(places), grid.max_super_block_rows());
    }
  });
}

TEST(Grid, SuperBlocksKeepToTheWantedRowsAsFarAsRanksAllow) {
  for_grids([](const Grid& grid, const Problem& p) {
    EXPECT_EQ(grid.super_blocks() == 0, p.m == 0);
    // By rank a super-block has at least one row of every rank.
    const std::int64_t least = p.deal == Deal::kByRank ? p.ranks : 1;
    EXPECT_LE(grid.max_super_block_rows(), ceil_div(std::max(p.wanted_rows, least), least) * least);
    EXPECT_LE(grid.max_tile_rows() * p.ranks, grid.max_super_block_rows() + p.ranks - 1);
  });
}

TEST(Grid, ByRankEveryRankOwnsOnePartOfTheRows) {
  for (const Problem& p : problems(Deal::kByRank)) {
    const Grid grid(p.deal, p.m, p.ranks, p.wanted_rows);
    const std::int64_t part = p.m / p.ranks;
    for (int owner = 0; owner < p.ranks; ++owner) {
      std::int64_t next = owner * part;
      for (std::int64_t s = 0; s < grid.super_blocks(); ++s) {
        ASSERT_EQ(grid.tile(s, owner).begin, next) << text(p);
        next = grid.tile(s, owner).end;
      }
      EXPECT_EQ(next, (owner + 1) * part) << text(p);
    }
  }
}

TEST(Grid, Examples) {
  // 10 rows in blocks of at most 4 on 2 ranks: 3, 3 and 4 rows.
  const Grid within(Deal::kWithinBlocks, 10, 2, 4);
  EXPECT_EQ(within.super_blocks(), 3);
  EXPECT_EQ(within.tile(1, 0).begin, 3);
  EXPECT_EQ(within.tile(1, 0).count(), 2);
  EXPECT_EQ(within.tile(1, 1).count(), 1);
  EXPECT_EQ(within.tile(2, 1).end, 10);
  EXPECT_EQ(within.place(2, 8), 2);
  // 12 rows on 3 ranks in blocks of at most 6: two rows of each rank.
  const Grid by_rank(Deal::kByRank, 12, 3, 6);
  EXPECT_EQ(by_rank.super_blocks(), 2);
  EXPECT_EQ(by_rank.tile(1, 2).begin, 10);
  EXPECT_EQ(by_rank.tile(1, 2).end, 12);
  EXPECT_EQ(by_rank.place(1, 7), 3);  // behind the rows 2 and 3 of rank 0, and row 6
}

}  // namespace
}  // namespace weft::tile
