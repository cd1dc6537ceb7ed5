// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "kernels/peak/kernels.h"
#include "kernels/peak/peak.h"

namespace weft::peak {
namespace {

const isa::Row& row_of(isa::Set bit) {
  for (const isa::Row& row : isa::rows())
    if (row.bit == bit) return row;
  return isa::rows().front();
}

class PeakTest : public testing::TestWithParam<isa::Set> {
 protected:
  void SetUp() override {
    const isa::Row& row = row_of(GetParam());
    if (!row.available) GTEST_SKIP() << row.name << ": " << row.reason;
  }
};

// With only this ISA allowed, its own loops run.
TEST_P(PeakTest, ComputePeaksArePlausible) {
  const auto peaks = measure_compute_peaks(GetParam(), 0.01);
  ASSERT_FALSE(peaks.empty());
  for (const Peak& peak : peaks) {
    EXPECT_EQ(peak.isa, GetParam());
    EXPECT_TRUE(std::isfinite(peak.ops_per_second));
    // Debug builds and sanitizers included: 30 times below what one core does.
    EXPECT_GT(peak.ops_per_second, 1e7) << peak.name;
    EXPECT_LT(peak.ops_per_second, 1e14) << peak.name << ": the loop was optimised away";
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, PeakTest,
                         testing::Values(isa::kScalar, isa::kAvx2, isa::kAvx512, isa::kAvx512Vnni,
                                         isa::kAvx512Bf16, isa::kAmxInt8, isa::kAmxBf16),
                         [](const auto& param) { return std::string(row_of(param.param).name); });

TEST(Peak, OneEntryPerNameWithTheBestIsa) {
  const auto peaks = measure_compute_peaks(isa::available(), 0.001);
  std::set<std::string_view> names;
  for (const Peak& peak : peaks) EXPECT_TRUE(names.insert(peak.name).second) << peak.name;
  ASSERT_TRUE(names.count("fp32 FMA"));
  const isa::Set best = isa::available() & isa::kAvx512 ? isa::kAvx512
                        : isa::available() & isa::kAvx2 ? isa::kAvx2
                                                        : isa::kScalar;
  EXPECT_EQ(peaks.front().isa, best);
  EXPECT_GT(ops_per_second(peaks, "fp32 FMA"), 0);
  EXPECT_EQ(ops_per_second(peaks, "fp128 FMA"), 0);
}

struct MemoryRow {
  isa::Set isa;
  ReadFn read;
  CopyFn copy, copy_stream;
};
constexpr MemoryRow kRows[] = {
#define WEFT_PEAK_COMPUTE(isa, name, type, ops, fn)
#define WEFT_PEAK_MEMORY(isa, read, copy, copy_stream) {isa, read, copy, copy_stream},
#include "kernels/peak/kernels.inc"
#undef WEFT_PEAK_COMPUTE
#undef WEFT_PEAK_MEMORY
};

struct alignas(64) Block {
  std::byte bytes[2048 + 64];
};

TEST(PeakMemory, ReadsEveryByteOfAnyLength) {
  std::mt19937 random(7);
  for (const MemoryRow& row : kRows) {
    if (!row_of(row.isa).available) continue;
    SCOPED_TRACE(row_of(row.isa).name);
    for (const int bytes : {1, 7, 8, 63, 64, 65, 255, 256, 511, 512, 513, 1024, 1300, 2048}) {
      Block block;
      for (std::byte& b : block.bytes) b = static_cast<std::byte>(random());
      alignas(64) std::byte before[kSinkBytes] = {}, after[kSinkBytes] = {};
      std::byte* data = block.bytes + 3;
      row.read(data, bytes, before);
      for (const int at : {0, bytes / 2, bytes - 1}) {  // a byte inside shows in the sink
        data[at] ^= std::byte{0x11};
        row.read(data, bytes, after);
        EXPECT_NE(std::memcmp(before, after, kSinkBytes), 0) << at << " of " << bytes;
        data[at] ^= std::byte{0x11};
      }
      data[bytes] ^= std::byte{0x11};  // one outside does not
      data[-1] ^= std::byte{0x11};
      row.read(data, bytes, after);
      EXPECT_EQ(std::memcmp(before, after, kSinkBytes), 0) << bytes;
    }
  }
}

TEST(PeakMemory, CopiesExactly) {
  std::mt19937 random(8);
  for (const MemoryRow& row : kRows) {
    if (!row_of(row.isa).available) continue;
    SCOPED_TRACE(row_of(row.isa).name);
    for (const CopyFn copy : {row.copy, row.copy_stream}) {
      if (!copy) continue;
      Block from, to;
      for (std::byte& b : from.bytes) b = static_cast<std::byte>(random());
      std::memset(to.bytes, 0xc5, sizeof to.bytes);
      copy(from.bytes, to.bytes + 64, 1536);
      EXPECT_EQ(std::memcmp(from.bytes, to.bytes + 64, 1536), 0);
      for (int at = 0; at < 64; ++at) ASSERT_EQ(to.bytes[at], std::byte{0xc5}) << at;
      for (int at = 64 + 1536; at < 2048 + 64; ++at) ASSERT_EQ(to.bytes[at], std::byte{0xc5}) << at;
    }
  }
}

TEST(PeakMemory, BandwidthIsPlausible) {
  const auto bandwidth = measure_bandwidth(isa::available());
  ASSERT_TRUE(bandwidth.ok()) << bandwidth.status().to_string();
  for (const double speed : {bandwidth->read, bandwidth->copy}) {
    EXPECT_GT(speed, 1e7);
    EXPECT_LT(speed, 1e13);
  }
  const std::vector<char> data(1 << 20, 'x');
  const double seconds = measure_read_of(data.data(), 1 << 20);
  EXPECT_GT(seconds, 1e-7);
  EXPECT_LT(seconds, 1);
}

}  // namespace
}  // namespace weft::peak
