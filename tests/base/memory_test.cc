// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

namespace weft {
namespace {

TEST(Memory, RoundsAndDivides) {
  EXPECT_EQ(round_up(0, 64), 0);
  EXPECT_EQ(round_up(1, 64), 64);
  EXPECT_EQ(round_up(64, 64), 64);
  EXPECT_EQ(round_up(65, 64), 128);
  EXPECT_EQ(ceil_div(0, 3), 0);
  EXPECT_EQ(ceil_div(7, 3), 3);
  EXPECT_EQ(ceil_div(9, 3), 3);
}

TEST(Buffer, IsZeroAlignedAndWritableToItsEnd) {
  for (const std::int64_t bytes : {1, 4096, 4097, 3 << 20}) {
    auto buffer = Buffer::allocate(bytes, "test");
    ASSERT_TRUE(buffer.ok());
    ASSERT_GE(buffer->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 4096, 0u);
    for (std::int64_t i = 0; i < buffer->bytes(); i += 509)
      ASSERT_EQ(buffer->data()[i], std::byte{0}) << i;
    std::memset(buffer->data(), 0x5a, static_cast<size_t>(buffer->bytes()));
  }
}

TEST(Buffer, StartsOnAHugePageIfItFillsOne) {
  const Buffer first = Buffer::allocate(kHugePage, "test").value();
  const Buffer second = Buffer::allocate(3 * kHugePage - 1, "test").value();
  for (const Buffer* buffer : {&first, &second}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % kHugePage, 0u);
    EXPECT_EQ(buffer->bytes() % kHugePage, 0);
  }
}

TEST(BufferDeathTest, PagesBesideALargeOneCannotBeTouched) {
  const Buffer buffer = Buffer::allocate(kHugePage, "test").value();
  EXPECT_DEATH(*const_cast<volatile std::byte*>(buffer.data() - 1) = std::byte{1}, "");
  EXPECT_DEATH(*const_cast<volatile std::byte*>(buffer.data() + buffer.bytes()) = std::byte{1}, "");
}

TEST(Buffer, NothingForNoBytes) {
  auto buffer = Buffer::allocate(0, "test");
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->data(), nullptr);
  EXPECT_EQ(buffer->bytes(), 0);
}

TEST(Buffer, MovesOwnership) {
  Buffer first = Buffer::allocate(100, "test").value();
  first.data()[0] = std::byte{42};
  const std::byte* data = first.data();
  Buffer second(std::move(first));
  EXPECT_EQ(first.data(), nullptr);
  EXPECT_EQ(first.bytes(), 0);
  Buffer third = Buffer::allocate(100, "test").value();
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.data()[0], std::byte{42});
}

TEST(Buffer, TooMuchIsAnErrorThatNamesSizeAndPurpose) {
  const auto buffer = Buffer::allocate(std::int64_t{1} << 60, "packed weights");
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().to_string(),
            "out of memory: 1152921504606846976 bytes for packed weights");
}

}  // namespace
}  // namespace weft
