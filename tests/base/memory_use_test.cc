// SPDX-License-Identifier: Apache-2.0
#include "base/memory_use.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/memory.h"

namespace weft {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

// Three mappings of 4 MiB from 0x10000000 on, with that many KiB in huge pages.
std::optional<std::int64_t> of_three(std::int64_t first, std::int64_t second, std::int64_t third,
                                     std::uint64_t begin, std::uint64_t end) {
  std::ostringstream text;
  std::uint64_t address = 0x10000000;
  for (const std::int64_t kib : {first, second, third}) {
    text << std::hex << address << "-" << address + 4 * kMiB << std::dec
         << " rw-p 00000000 00:00 0     [anon:abc-def]\nSize:   4096 kB\nRss:   4096 kB\n"
         << "AnonHugePages:    " << kib << " kB\nShmemPmdMapped:   0 kB\nVmFlags: rd wr\n";
    address += 4 * kMiB;
  }
  std::istringstream lines(text.str());
  return huge_page_bytes(lines, 0x10000000 + begin, 0x10000000 + end);
}

TEST(HugePageBytes, AreThoseOfTheMappingsInTheRange) {
  EXPECT_EQ(of_three(4096, 2048, 4096, 4 * kMiB, 8 * kMiB), 2 * kMiB);
  EXPECT_EQ(of_three(2048, 2048, 0, 0, 8 * kMiB), 4 * kMiB);
  EXPECT_EQ(of_three(0, 4096, 4096, 0, 12 * kMiB), 8 * kMiB);
}

TEST(HugePageBytes, OfAMappingThatReachesBeyondTheRangeAreAllOrNothing) {
  EXPECT_EQ(of_three(4096, 0, 2048, 3 * kMiB, 8 * kMiB), kMiB);
  EXPECT_EQ(of_three(0, 0, 2048, 3 * kMiB, 8 * kMiB), 0);
  EXPECT_EQ(of_three(2048, 4096, 0, 2 * kMiB, 8 * kMiB), std::nullopt);
  EXPECT_EQ(of_three(0, 4096, 2048, 4 * kMiB, 9 * kMiB), std::nullopt);
}

TEST(HugePageBytes, AreUnknownWhereTheTextDoesNotSay) {
  EXPECT_EQ(of_three(0, 0, 0, 0, 13 * kMiB), std::nullopt);  // nothing is mapped at the end
  std::istringstream old("10000000-10400000 rw-p 00000000 00:00 0\nRss:   4096 kB\n");
  EXPECT_EQ(huge_page_bytes(old, 0x10000000, 0x10400000), std::nullopt);
  std::istringstream nothing("");
  EXPECT_EQ(huge_page_bytes(nothing, 0x10000000, 0x10400000), std::nullopt);
}

TEST(HugePageBytes, CountSharedMemoryToo) {
  std::istringstream text(
      "10000000-10400000 rw-s 00000000 00:01 7   /memfd:weft (deleted)\n"
      "AnonHugePages:   0 kB\nShmemPmdMapped:   2048 kB\n");
  EXPECT_EQ(huge_page_bytes(text, 0x10000000, 0x10400000), 2 * kMiB);
}

TEST(MemoryUse, SaysWhichPagesOfABufferAreInMemory) {
  const Buffer neighbour = Buffer::allocate(8 * kMiB, "test").value();
  const Buffer buffer = Buffer::allocate(8 * kMiB, "test").value();
  std::memset(neighbour.data(), 1, static_cast<std::size_t>(neighbour.bytes()));
  const auto untouched = memory_use(buffer.data(), buffer.bytes());
  ASSERT_TRUE(untouched.ok()) << untouched.status().to_string();
  EXPECT_EQ(untouched->bytes, 8 * kMiB);
  EXPECT_EQ(untouched->resident_bytes, 0);
  EXPECT_EQ(untouched->huge_page_bytes, 0);

  std::memset(buffer.data(), 1, static_cast<std::size_t>(4 * kMiB));
  const auto half = memory_use(buffer.data(), buffer.bytes());
  ASSERT_TRUE(half.ok()) << half.status().to_string();
  EXPECT_EQ(half->resident_bytes, 4 * kMiB);
  // Memory may be too scattered for a huge page, but there are none where the system gives none.
  EXPECT_LE(half->huge_page_bytes, 4 * kMiB);
  EXPECT_EQ(half->huge_page_bytes % kHugePage, 0);
  if (!huge_page_settings().gives_anonymous()) {
    EXPECT_EQ(half->huge_page_bytes, 0);
  }
}

TEST(MemoryUse, OfNothingIsNothing) {
  const auto use = memory_use(nullptr, 0);
  ASSERT_TRUE(use.ok());
  EXPECT_EQ(use->bytes + use->resident_bytes + use->huge_page_bytes, 0);
}

TEST(HugePageSettings, AreTheWordsInBrackets) {
  std::string name = testing::TempDir() + "weft_thp_XXXXXX";
  const std::string root = mkdtemp(name.data());
  EXPECT_EQ(huge_page_settings(root).anonymous, "");
  EXPECT_FALSE(huge_page_settings(root).gives_anonymous());
  const std::string folder = root + "/sys/kernel/mm/transparent_hugepage";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/enabled") << "always [madvise] never\n";
  std::ofstream(folder + "/shmem_enabled") << "always within_size advise [never] deny force\n";
  const HugePageSettings found = huge_page_settings(root);
  EXPECT_EQ(found.anonymous, "madvise");
  EXPECT_EQ(found.shared, "never");
  EXPECT_TRUE(found.gives_anonymous());
  EXPECT_FALSE(found.gives_shared());
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace weft
