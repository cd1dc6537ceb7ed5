// SPDX-License-Identifier: Apache-2.0
// RowExchange: what a window has room for, what a piece looks like, and pieces that follow each
// other through the ring, of ranks that are not equally fast.
#include "tile/row_exchange.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/memory.h"
#include "thread_ranks.h"

namespace weft::tile {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

TEST(RowPiece, HasRoomForItsLabelsAndRows) {
  std::vector<std::byte> memory(1 << 16);
  auto* const aligned = reinterpret_cast<std::byte*>(
      round_up(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(memory.data())), 64));
  const RowPiece piece(aligned, 3, 128);
  RowPiece(piece).lay_out(std::vector<std::int64_t>{2, 0, 5});
  EXPECT_EQ(piece.labels(0).size(), 2u);
  EXPECT_EQ(piece.labels(1).size(), 0u);
  EXPECT_EQ(piece.labels(2).size(), 5u);
  EXPECT_EQ(piece.labels(2).data(), piece.labels(0).data() + 2);
  const auto* const end = reinterpret_cast<const std::byte*>(piece.labels(2).data() + 5);
  EXPECT_GE(piece.row(0), end);
  EXPECT_EQ((piece.row(0) - aligned) % kCacheLine, 0);
  EXPECT_EQ(piece.row(4) - piece.row(0), 4 * 128);
  EXPECT_EQ(RowPiece::bytes(3, 7, 4, 128), piece.row(4) - aligned);
}

TEST(RowLayout, FitsTheWindow) {
  for (const std::int64_t window : {kMiB / 8, kMiB, 6 * kMiB, 400 * kMiB})
    for (const int ranks : {1, 3, 768})
      for (const std::int64_t row_bytes : {64, 14336})
        for (const std::int64_t rows : {1, 9}) {
          const auto layout = RowLayout::make(1000, row_bytes, rows, ranks, window);
          SCOPED_TRACE(std::to_string(window) + " bytes, " + std::to_string(ranks) + " ranks, " +
                       std::to_string(rows) + " rows of " + std::to_string(row_bytes));
          const std::int64_t least = RowPiece::bytes(ranks, rows, rows, row_bytes);
          if (!layout.ok()) {
            EXPECT_TRUE(SlotRing::most_slot_bytes(window) < least || one_shot_bytes(window) < 4200)
                << layout.status().message();
            continue;
          }
          EXPECT_GE(layout->slot_bytes, least);
          EXPECT_GE(layout->head_bytes, 1000);
          EXPECT_LE(
              2 * (layout->head_bytes + layout->half_bytes) + SlotRing::kSlots * layout->slot_bytes,
              window);
        }
}

TEST(RowLayout, SaysHowLargeAWindowMustBe) {
  for (const std::int64_t head : {100, 300'000})
    for (const std::int64_t row_bytes : {64, 100'000, 5'000'000})
      for (const std::int64_t rows : {1, 9}) {
        const auto small = RowLayout::make(head, row_bytes, rows, 8, 8192);
        ASSERT_FALSE(small.ok());
        EXPECT_EQ(small.status().code(), StatusCode::kInvalidArgument);
        const std::string& message = small.status().message();
        const std::string before = "GroupOptions::window_bytes to at least ";
        const std::size_t at = message.find(before);
        ASSERT_NE(at, std::string::npos) << message;
        const std::int64_t enough = std::stoll(message.substr(at + before.size())) * kMiB;
        EXPECT_TRUE(RowLayout::make(head, row_bytes, rows, 8, enough).ok()) << message;
      }
}

// Every rank sends each other one row a piece, with the number of the piece in it, through more
// pieces than the ring has slots, while one rank after the other is late.
TEST(RowExchange, PiecesAreReadBeforeTheyAreOverwritten) {
  constexpr int kRanks = 3, kPieces = 20, kCalls = 4;
  constexpr std::int64_t kRowBytes = 4096;
  auto groups = weft::testing::make_groups("loopback", kRanks);
  weft::testing::on_all(groups, [&](Group& group) {
    internal::GroupState& state = group.state();
    const auto layout = RowLayout::make(64, kRowBytes, kRanks, kRanks, group.window_bytes());
    ASSERT_TRUE(layout.ok());
    std::mt19937 random(static_cast<unsigned>(group.rank()));
    for (int call = 0; call < kCalls; ++call) {
      RowExchange exchange(state, *layout);
      *reinterpret_cast<int*>(exchange.head(group.rank())) = 100 * call + group.rank();
      ASSERT_TRUE(state.begin_call(internal::CallHeader("rows")).ok());
      ASSERT_TRUE(state.check_peers().ok());
      for (int q = 0; q < kRanks; ++q)
        EXPECT_EQ(*reinterpret_cast<int*>(exchange.head(q)), 100 * call + q);
      for (std::int64_t s = 0; s < kPieces; ++s) {
        ASSERT_TRUE(exchange.acquire(s).ok());
        RowPiece own = exchange.piece(s, group.rank());
        own.lay_out(std::vector<std::int64_t>(kRanks, 1));
        for (int q = 0; q < kRanks; ++q) {
          own.labels(q)[0] = {static_cast<std::uint32_t>(q), {static_cast<int>(s), q, call}};
          std::memset(own.row(q), static_cast<int>(s + q), kRowBytes);
        }
        exchange.publish(s);
        if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        for (int q = 0; q < kRanks; ++q) {
          ASSERT_TRUE(exchange.wait(s, q).ok());
          const RowPiece theirs = exchange.piece(s, q);
          const RowLabel label = theirs.labels(group.rank())[0];
          ASSERT_EQ(label.what[0], s);
          ASSERT_EQ(label.what[2], call);
          ASSERT_EQ(static_cast<int>(theirs.row(label.row)[kRowBytes - 1]), s + group.rank());
        }
        exchange.consumed(s);
      }
      state.end_call();
    }
  });
}

}  // namespace
}  // namespace weft::tile
