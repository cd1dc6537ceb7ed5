// SPDX-License-Identifier: Apache-2.0
#include "base/scratch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace weft {
namespace {

constexpr ScratchFor kRows = ScratchFor::kPackedRows, kBlocks = ScratchFor::kWeightBlocks;

TEST(Scratch, PlansShareWhatIsLargeEnough) {
  ScratchPool pool;
  const Scratch first = pool.reserve(kRows, 100'000).value();
  const Scratch same = pool.reserve(kRows, 100'000).value();
  const Scratch less = pool.reserve(kRows, 10).value();
  EXPECT_EQ(first.bytes(), 100'000);
  EXPECT_EQ(less.bytes(), 10);
  EXPECT_EQ(same.data(), first.data());
  EXPECT_EQ(less.data(), first.data());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first.data()) % kCacheLine, 0u);
}

TEST(Scratch, PurposesShareNothing) {
  ScratchPool pool;
  std::set<std::byte*> blocks;
  for (int i = 0; i < static_cast<int>(ScratchFor::kCount); ++i)
    blocks.insert(pool.reserve(static_cast<ScratchFor>(i), 10).value().data());
  EXPECT_EQ(blocks.size(), static_cast<size_t>(ScratchFor::kCount));
}

TEST(Scratch, AnOlderPlanKeepsItsOwnWhenALargerOneComes) {
  ScratchPool pool;
  const Scratch small = pool.reserve(kRows, 5000).value();
  std::memset(small.data(), 0x5a, 5000);
  const Scratch large = pool.reserve(kRows, 5 << 20).value();
  std::memset(large.data(), 0x77, 5 << 20);
  EXPECT_NE(large.data(), small.data());
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(small.data()[i], std::byte{0x5a}) << i;
  EXPECT_EQ(pool.reserve(kRows, 5000)->data(), large.data());
}

TEST(Scratch, OutlivesThePool) {
  Scratch scratch;
  {
    ScratchPool pool;
    scratch = pool.reserve(kRows, 5000).value();
  }
  std::memset(scratch.data(), 0x5a, 5000);
  EXPECT_EQ(scratch.data()[4999], std::byte{0x5a});
}

TEST(Scratch, GrowingLittleByLittleMakesFewBlocks) {
  ScratchPool pool;
  std::vector<Scratch> plans;
  std::set<std::byte*> blocks;
  for (std::int64_t bytes = 1; bytes <= 4 << 20; bytes += 1000) {
    plans.push_back(pool.reserve(kRows, bytes).value());
    blocks.insert(plans.back().data());
  }
  EXPECT_LE(blocks.size(), 12u);  // 4 KiB, 8 KiB, …, 4 MiB, and the next
}

TEST(Scratch, NothingForNoBytes) {
  ScratchPool pool;
  const Scratch none = pool.reserve(kRows, 0).value();
  EXPECT_EQ(none.data(), nullptr);
  EXPECT_EQ(none.bytes(), 0);
}

TEST(Scratch, TooMuchIsAnErrorThatNamesSizeAndPurposeAndChangesNothing) {
  ScratchPool pool;
  const Scratch before = pool.reserve(kBlocks, 100).value();
  const auto scratch = pool.reserve(kBlocks, (std::int64_t{1} << 60) + 1);
  ASSERT_FALSE(scratch.ok());
  EXPECT_EQ(scratch.status().to_string(),
            "out of memory: 1152921504606846977 bytes for blocks of weights");
  EXPECT_EQ(pool.reserve(kBlocks, 100)->data(), before.data());
}

// CANN's first phases plan in any thread, while a task runs.
TEST(Scratch, ManyThreadsReserve) {
  ScratchPool pool;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&pool, thread] {
      for (std::int64_t i = 1; i < 300; ++i) {
        const Result<Scratch> scratch = pool.reserve(kRows, i * 1000 + thread);
        ASSERT_TRUE(scratch.ok());
        ASSERT_EQ(scratch->bytes(), i * 1000 + thread);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace weft
