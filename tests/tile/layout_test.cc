// SPDX-License-Identifier: Apache-2.0
// Layout::make: what a window has room for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tile/tile_comm.h"

namespace weft::tile {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

TEST(Layout, FitsTheWindowAndHoldsWhatItsSlotsShould) {
  for (const Collective collective : {Collective::kAllReduce, Collective::kReduceScatter})
    for (const int ranks : {1, 2, 3, 8})
      for (const std::int64_t part : {1, 5, 100, 3000})
        for (const std::int64_t row_bytes : {64, 2048, 131072})
          for (const std::int64_t window : {kMiB / 8, 12 * kMiB, 16 * kMiB, 200 * kMiB}) {
            const std::int64_t m = part * ranks;
            SCOPED_TRACE(std::to_string(m) + " rows of " + std::to_string(row_bytes) + " bytes, " +
                         std::to_string(ranks) + " ranks, window " + std::to_string(window));
            const std::int64_t one_shot = ring_offset(window);
            const auto layout =
                Layout::make(collective, Pattern::kRing, m, ranks, row_bytes, 2048, window);
            const bool allreduce = collective == Collective::kAllReduce;
            if (!layout.ok()) {
              // The smallest ring: three slots of a row, or of one for each rank, and sums beside.
              const std::int64_t rows = allreduce ? 2 : ranks;
              EXPECT_GT(one_shot + Layout::kSlots * (rows * row_bytes + 3 * 4096), window);
              continue;
            }
            const std::int64_t rows = layout->grid.max_super_block_rows() +
                                      (allreduce ? layout->grid.max_tile_rows() : 0);
            EXPECT_GE(layout->slot_bytes,
                      rows * row_bytes + skew_bytes(ranks - 1) + kReducedSkewBytes);
            EXPECT_LE(one_shot + Layout::kSlots * layout->slot_bytes, window);
            EXPECT_LE(one_shot, window / 4);
            EXPECT_LE(layout->window_bytes_used(), Layout::kSlots * layout->slot_bytes);
            EXPECT_LE(layout->grid.max_super_block_rows(), std::max<std::int64_t>(2048, ranks));
          }
}

TEST(Layout, SaysHowLargeAWindowMustBe) {
  for (const int ranks : {1, 2, 8})
    for (const Collective collective : {Collective::kAllReduce, Collective::kReduceScatter})
      for (const std::int64_t row_bytes : {64, 500000, 1000000, 3000000}) {
        const auto small =
            Layout::make(collective, Pattern::kRing, 64, ranks, row_bytes, 2048, 8192);
        ASSERT_FALSE(small.ok());
        EXPECT_EQ(small.status().code(), StatusCode::kInvalidArgument);
        const std::string& message = small.status().message();
        const std::string before = "GroupOptions::window_bytes to at least ";
        const std::size_t at = message.find(before);
        ASSERT_NE(at, std::string::npos) << message;
        const std::int64_t enough = std::stoll(message.substr(at + before.size())) * kMiB;
        EXPECT_TRUE(
            Layout::make(collective, Pattern::kRing, 64, ranks, row_bytes, 2048, enough).ok())
            << message << ", ranks " << ranks;
      }
}

TEST(Layout, RanksBeginAtLinesOfTheirOwn) {
  std::set<std::int64_t> begins;
  for (int rank = 0; rank < 63; ++rank) {
    EXPECT_EQ(skew_bytes(rank) % kCacheLine, 0);
    EXPECT_LT(skew_bytes(rank), 4096);
    EXPECT_NE(skew_bytes(rank), 0) << "a tensor of the caller begins there";
    begins.insert(skew_bytes(rank));
  }
  EXPECT_EQ(begins.size(), 63u);
}

TEST(Layout, OneShotIsOneSuperBlock) {
  const auto layout =
      Layout::make(Collective::kAllReduce, Pattern::kOneShot, 37, 4, 128, 8, 8 * kMiB);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->grid.super_blocks(), 1);
  EXPECT_EQ(layout->slot_bytes, 8192);  // 37 · 128 bytes in whole pages
  EXPECT_EQ(layout->window_bytes_used(), 2 * 8192);
}

}  // namespace
}  // namespace weft::tile
