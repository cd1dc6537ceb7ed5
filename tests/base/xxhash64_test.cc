// SPDX-License-Identifier: Apache-2.0
#include "base/xxhash64.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace weft {
namespace {

std::uint64_t hash(std::string_view text) { return xxhash64(std::as_bytes(std::span(text))); }

// Published values of XXH64 with seed 0.
TEST(XxHash64, KnownValues) {
  EXPECT_EQ(hash(""), 0xef46db3751d8e999);
  EXPECT_EQ(hash("a"), 0xd24ec4f1a98c6e5b);
  EXPECT_EQ(hash("abc"), 0x44bc2cf5ad770999);
  EXPECT_EQ(hash("Nobody inspects the spammish repetition"), 0xfbcea83c8a378bf1);
}

// Every tail (8, 4 and 1 bytes after whole stripes) sees every bit.
TEST(XxHash64, EveryBitCounts) {
  for (const std::size_t size : {1, 5, 13, 31, 32, 45, 64, 79}) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(37 * i + size);
    const std::uint64_t before = xxhash64(bytes);
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
      EXPECT_NE(xxhash64(bytes), before) << "size " << size << " bit " << bit;
      bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    }
  }
}

}  // namespace
}  // namespace weft
