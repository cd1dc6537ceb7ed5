// SPDX-License-Identifier: Apache-2.0
// What only the AMX kernels promise: the exact split of float16, inf and nan in spite of it, an
// error below that of the FMA kernel, and hooks that any thread can call.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "base/float16.h"
#include "kernels/gemm/gemm.h"

namespace weft::gemm {
namespace {

constexpr int kSize = 32;  // rows and columns of a tile
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

const Kernel* find(std::string_view name) {
  for (const Kernel& kernel : kernels())
    if (kernel.name == name) return &kernel;
  return nullptr;
}

/// 64-byte aligned bytes, all of them `fill` before.
struct Memory {
  explicit Memory(std::int64_t bytes, std::uint8_t fill = 0xff)
      : storage(bytes + 64, std::byte{fill}) {
    data = storage.data() + (64 - reinterpret_cast<std::uintptr_t>(storage.data()) % 64) % 64;
  }
  template <typename T>
  T at(std::int64_t offset) const {
    T value;
    std::memcpy(&value, data + offset, sizeof value);
    return value;
  }
  std::vector<std::byte> storage;
  std::byte* data;
};

/// float16 matrices; x is what the bits say.
struct Matrix {
  Matrix(std::int64_t rows, std::int64_t cols) : rows(rows), cols(cols), bits(rows * cols) {}
  void set(std::int64_t r, std::int64_t c, double x) { bits[r * cols + c] = f64_to_fp16(x); }
  std::uint16_t get(std::int64_t r, std::int64_t c) const { return bits[r * cols + c]; }
  Matrix transposed() const {
    Matrix t(cols, rows);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c) t.bits[c * rows + r] = bits[r * cols + c];
    return t;
  }
  std::int64_t rows, cols;
  std::vector<std::uint16_t> bits;
};

Matrix random_matrix(std::int64_t rows, std::int64_t cols, std::mt19937& random) {
  Matrix matrix(rows, cols);
  std::normal_distribution<double> normal;
  for (auto& bits : matrix.bits) bits = f64_to_fp16(normal(random));
  return matrix;
}

struct Way {
  bool transposed = false;
  std::int64_t block = 0;  // k of one tile call, 0: all
  std::int64_t strip = 0;  // k of one packing call, 0: the block
};

/// a (m x k, m <= mr) times b (k x n, n <= nr): m x n.
std::vector<float> multiply(const Kernel& kernel, const Matrix& a, const Matrix& b,
                            const Way& way = {}) {
  const std::int64_t k = a.cols, block = way.block ? way.block : kernel.padded_k(k);
  const std::int64_t strip = way.strip ? way.strip : block;
  Memory packed_a(kernel.a_panel_bytes(k)), packed_b(kernel.b_panel_bytes(block));
  Memory acc(kernel.mr * kernel.nr * 4);
  const int m = static_cast<int>(a.rows);
  kernel.pack_a({a.bits.data(), 2 * k, m, k, packed_a.data});
  const Matrix source = way.transposed ? b.transposed() : b;
  for (std::int64_t done = 0; done < k; done += block) {
    const std::int64_t now = std::min(block, k - done);
    for (std::int64_t p = 0; p < now; p += strip)
      (way.transposed ? kernel.pack_bt : kernel.pack_b)(
          {source.bits.data() + (done + p) * (way.transposed ? 1 : source.cols), 2 * source.cols,
           std::min(strip, now - p), b.cols, packed_b.data, kernel.b_panel_bytes(block), p});
    kernel.tile({.m = m,
                 .k = kernel.padded_k(now),
                 .a_header = packed_a.data,
                 .a = packed_a.data + kernel.a_panel_bytes(done),
                 .b = packed_b.data,
                 .acc = acc.data,
                 .acc_stride_bytes = kernel.nr * 4,
                 .bias = nullptr,
                 .first = done == 0,
                 .ahead = source.bits.data(),  // not read, however far it reaches
                 .ahead_bytes = 100 * done + 1});
  }
  std::vector<float> result;
  for (int i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < b.cols; ++j)
      result.push_back(acc.at<float>((i * kernel.nr + j) * 4));
  return result;
}

struct Expected {
  std::vector<double> sum, sum_abs;
};
Expected expect(const Matrix& a, const Matrix& b) {
  Expected result{std::vector<double>(a.rows * b.cols), std::vector<double>(a.rows * b.cols)};
  reference({DType::kFloat16, a.rows, b.cols, a.cols, a.bits.data(), a.cols, 1, b.bits.data(),
             b.cols, 1, nullptr, result.sum.data(), result.sum_abs.data()});
  return result;
}

class SplitFloat16 : public testing::Test {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == isa::kAmxBf16 && !row.available) GTEST_SKIP() << row.reason;
    kernel.enter();
  }
  void TearDown() override {
    if (!IsSkipped()) kernel.leave();
  }
  const Kernel& kernel = *find("gemm_float16_float16_float32_32x32x32_amxbf16");
};

bool is_finite(std::uint16_t bits) { return (bits & 0x7c00) != 0x7c00; }

void check_split(std::uint16_t bits, std::uint16_t hi, std::uint16_t lo) {
  const double x = fp16_to_f32(bits), high = bf16_to_f32(hi), low = bf16_to_f32(lo);
  if (std::isnan(x))
    ASSERT_TRUE(std::isnan(high)) << bits;
  else
    ASSERT_EQ(high + low, x) << "bits " << bits << ": " << high << " + " << low;
  if (!is_finite(bits)) {
    ASSERT_EQ(low, 0) << bits;
  }
}

// All 65536 values, in the layout that x86_amx_fp16.cc documents.
TEST_F(SplitFloat16, IsExactForEveryValue) {
  constexpr std::int64_t kDepth = 65536 / kSize;
  Matrix all(kSize, kDepth);
  for (int i = 0; i < 65536; ++i) all.bits[i] = static_cast<std::uint16_t>(i);

  Memory a(kernel.a_panel_bytes(kDepth)), b(kernel.b_panel_bytes(kDepth)),
      bt(kernel.b_panel_bytes(kDepth));
  kernel.pack_a({all.bits.data(), 2 * kDepth, kSize, kDepth, a.data});
  const Matrix rows_of_k = all.transposed();
  kernel.pack_b({rows_of_k.bits.data(), 2 * kSize, kDepth, kSize, b.data, 0, 0});
  kernel.pack_bt({all.bits.data(), 2 * kDepth, kDepth, kSize, bt.data, 0, 0});
  EXPECT_EQ(std::memcmp(b.data, bt.data, kernel.b_panel_bytes(kDepth)), 0);

  std::uint32_t flags = 0;
  for (std::int64_t i = 0; i < kSize; ++i)
    for (std::int64_t p = 0; p < kDepth; ++p) {
      const std::uint16_t bits = all.get(i, p);
      const std::int64_t tile = 64 + p / 32 * 4096 + i / 16 * 1024;
      const std::int64_t in_a = tile + i % 16 * 64 + p % 32 * 2;
      const std::int64_t in_b = tile + p % 32 / 2 * 64 + i % 16 * 4 + p % 2 * 2;
      ASSERT_NO_FATAL_FAILURE(
          check_split(bits, a.at<std::uint16_t>(in_a), a.at<std::uint16_t>(in_a + 2048)));
      ASSERT_NO_FATAL_FAILURE(
          check_split(bits, b.at<std::uint16_t>(in_b), b.at<std::uint16_t>(in_b + 2048)));
      if (!is_finite(bits)) flags |= 1u << i;
    }
  EXPECT_NE(flags, 0u);
  EXPECT_EQ(a.at<std::uint32_t>(0), flags);
  EXPECT_EQ(b.at<std::uint32_t>(0), flags);
}

// Elements that meet no inf and no nan keep the bits they have without them.
void check_specials(const Kernel& kernel, const Matrix& a, const Matrix& b, const Way& way) {
  const auto cleaned = [](Matrix matrix) {
    for (auto& bits : matrix.bits)
      if (!is_finite(bits)) bits = 0x3c00;
    return matrix;
  };
  const std::vector<float> got = multiply(kernel, a, b, way);
  const std::vector<float> clean = multiply(kernel, cleaned(a), cleaned(b), way);
  const Expected want = expect(a, b);
  for (std::size_t e = 0; e < got.size(); ++e) {
    SCOPED_TRACE(testing::Message() << "row " << e / b.cols << " column " << e % b.cols);
    if (std::isnan(want.sum[e])) {
      ASSERT_TRUE(std::isnan(got[e])) << got[e];
    } else if (std::isinf(want.sum[e])) {
      ASSERT_EQ(got[e], want.sum[e]);
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got[e]), std::bit_cast<std::uint32_t>(clean[e]));
    }
  }
}

TEST_F(SplitFloat16, InfTimesAnythingIsRight) {
  // Every pair of these meets: row i of a holds values[i] at the k where column j of b holds
  // values[j]. 2 and 1.5 have lo = 0, the others do not.
  const double values[] = {0,     -0.0,    2,       -1.5, 1.0009765625, -3.00390625,
                           65504, 0x1p-24, 0x3p-24, kInf, -kInf,        kNan};
  constexpr int kCount = std::size(values);
  for (const bool transposed : {false, true})
    for (const std::int64_t at : {0, 31, 32, 70, 95}) {
      SCOPED_TRACE(testing::Message() << "k " << at << (transposed ? " pack_bt" : " pack_b"));
      std::mt19937 random(7);
      Matrix a = random_matrix(kCount, 96, random), b = random_matrix(96, kCount, random);
      for (int i = 0; i < kCount; ++i) {
        a.set(i, at, values[i]);
        b.set(at, i, values[i]);
      }
      check_specials(kernel, a, b, {.transposed = transposed});
    }
}

// Headers of A cover all of k, those of B one block, filled strip by strip.
TEST_F(SplitFloat16, SpecialsInAnyBlockAndStrip) {
  constexpr std::int64_t kDepth = 256;
  unsigned seed = 1;
  for (const double special : {kInf, -kInf, kNan})
    for (const std::int64_t m : {1, 16, 17, 32})
      for (const Way& way :
           {Way{}, Way{.strip = 32}, Way{.block = 64}, Way{.block = 128, .strip = 32},
            Way{.transposed = true, .block = 128, .strip = 64}}) {
        std::mt19937 random(++seed);
        SCOPED_TRACE(testing::Message() << "special " << special << " m " << m << " block "
                                        << way.block << " strip " << way.strip << " seed " << seed);
        const Matrix finite_a = random_matrix(m, kDepth, random);
        const Matrix finite_b = random_matrix(kDepth, 29, random);
        Matrix a = finite_a, b = finite_b;
        a.set(random() % m, random() % kDepth, special);
        b.set(random() % kDepth, random() % b.cols, special);
        check_specials(kernel, a, finite_b, way);
        check_specials(kernel, finite_a, b, way);
        check_specials(kernel, a, b, way);
        a.set(random() % m, random() % kDepth, -kInf);
        check_specials(kernel, a, b, way);
      }
}

TEST_F(SplitFloat16, StartsFromBiasInFlaggedColumns) {
  std::mt19937 random(3);
  Matrix a = random_matrix(kSize, 32, random), b = random_matrix(32, kSize, random);
  b.set(5, 20, kInf);
  Memory packed_a(kernel.a_panel_bytes(32)), packed_b(kernel.b_panel_bytes(32)), acc(4096),
      bias(128, 0);
  const float minus_inf = static_cast<float>(-kInf);
  std::memcpy(bias.data + 20 * 4, &minus_inf, 4);
  std::memcpy(bias.data + 21 * 4, &minus_inf, 4);
  kernel.pack_a({a.bits.data(), 64, kSize, 32, packed_a.data});
  kernel.pack_b({b.bits.data(), 64, 32, kSize, packed_b.data, 0, 0});
  kernel.tile({kSize, 32, packed_a.data, packed_a.data + 64, packed_b.data, acc.data, 128,
               bias.data, true});
  for (int i = 0; i < kSize; ++i) {
    const float product = fp16_to_f32(a.get(i, 5)) * static_cast<float>(kInf);
    const float got = acc.at<float>((i * kSize + 20) * 4);
    if (product > 0)  // inf - inf
      EXPECT_TRUE(std::isnan(got)) << i;
    else
      EXPECT_EQ(got, minus_inf) << i;
    EXPECT_EQ(acc.at<float>((i * kSize + 21) * 4), minus_inf) << i;
  }
}

// Although there are four products: the instruction sums the even and the odd k of a step from zero
// and only then adds to C, so C is rounded four times in 32 k, not 32 times.
TEST_F(SplitFloat16, ErrsLessThanFusedMultiplyAdd) {
  const Kernel& fma = *find("gemm_float16_float16_float32_14x32x1_avx512");
  std::mt19937 random(11);
  double split_squares = 0, fma_squares = 0, count = 0;
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Matrix a = random_matrix(14, 4096, random), b = random_matrix(4096, kSize, random);
    const Expected want = expect(a, b);
    const std::vector<float> split = multiply(kernel, a, b), fused = multiply(fma, a, b);
    for (std::size_t e = 0; e < split.size(); ++e, ++count) {
      split_squares += std::pow((split[e] - want.sum[e]) / want.sum_abs[e], 2);
      fma_squares += std::pow((fused[e] - want.sum[e]) / want.sum_abs[e], 2);
    }
  }
  const double split_rms = std::sqrt(split_squares / count),
               fma_rms = std::sqrt(fma_squares / count);
  RecordProperty("split_rms", std::to_string(split_rms * 1e9) + "e-9");
  RecordProperty("fma_rms", std::to_string(fma_rms * 1e9) + "e-9");
  EXPECT_LE(split_rms, fma_rms);
  EXPECT_GT(split_rms, 0);
}

TEST_F(SplitFloat16, EveryThreadEntersForItself) {
  std::mt19937 random(5);
  const Matrix a = random_matrix(kSize, 100, random), b = random_matrix(100, kSize, random);
  const std::vector<float> here = multiply(kernel, a, b);
  std::vector<std::vector<float>> there(3);
  std::vector<std::thread> threads;
  for (auto& result : there)
    threads.emplace_back([&] {
      for (int repeat = 0; repeat < 2; ++repeat) {  // entering again after leaving
        kernel.enter();
        result = multiply(kernel, a, b);
        kernel.leave();
      }
    });
  for (auto& thread : threads) thread.join();
  for (const auto& result : there) EXPECT_EQ(result, here);
}

}  // namespace
}  // namespace weft::gemm
