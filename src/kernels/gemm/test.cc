// SPDX-License-Identifier: Apache-2.0
// Every row of kernels.inc against the reference. Nothing here names a kernel: a new row is tested
// as it is added.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/float16.h"
#include "kernels/gemm/test_support.h"

namespace weft::gemm {
namespace {

struct Expected {
  std::vector<double> sum, sum_abs;
};

Expected expect(const Operands& x, bool with_bias) {
  Expected result{std::vector<double>(x.m * x.n), std::vector<double>(x.m * x.n)};
  reference({.type = x.type,
             .m = x.m,
             .n = x.n,
             .k = x.k,
             .a = x.a.data,
             .a_row = x.a.stride,
             .a_col = 1,
             .b = x.b.data,
             .b_row = x.b.stride,
             .b_col = 1,
             .bias = with_bias ? x.bias_values.data() : nullptr,
             .acc = result.sum.data(),
             .acc_abs = result.sum_abs.data()});
  return result;
}

/// The largest |kernel - exact| the arithmetic of a kernel allows.
///
/// Let u = 2^-24. A product of two 16-bit floats has at most 22 bits, so it is exact in fp32 and
/// every rounding is that of an addition (alone or fused). Whatever the order, a term meets at most
/// one addition per term, t = terms per k, so it ends multiplied by at most (1 + u)^(t k):
/// |error| <= t k u / (1 - t k u) · S, S = sum |a||b| + |bias|, and that is below (t k + 1) u S
/// while (t k)^2 u < 1. One more u pays for the double sums of the reference.
///   t = 1 for one float per operand. float16 split into hi + lo: t = 4, and |hi| + |lo| exceeds
///   |x| by at most 2^-7 |x|, hence the factor 1.02 (> (1 + 2^-7)^2).
/// Underflow: where subnormals are kept, each addition errs by at most 2^-150. The bfloat16 dot
/// instructions take subnormal operands as zero, which loses 2^-126 of the other operand, and flush
/// subnormal products and sums.
double bound(const Kernel& kernel, std::int64_t k, double sum_abs) {
  if (kernel.acc == DType::kInt32) return 0;
  const bool dot = kernel.isa & (isa::kAvx512Bf16 | isa::kAmxBf16);
  const bool split = dot && kernel.a == DType::kFloat16;
  const double terms = (split ? 4.0 : 1.0) * static_cast<double>(k);
  constexpr double kLargest = 8192;  // of fill functions that make subnormals
  const double underflow = terms * (dot ? 0x1p-126 * (2 + 2 * kLargest) : 0x1p-149);
  return (terms + 2) * 0x1p-24 * (split ? 1.02 : 1.0) * sum_abs + underflow;
}

double value_of(const Kernel& kernel, std::uint32_t word) {
  if (kernel.acc == DType::kInt32) return std::bit_cast<std::int32_t>(word);
  return std::bit_cast<float>(word);
}

void compare(const Kernel& kernel, const Operands& x, const Words& got, const Expected& want) {
  int failures = 0;
  for (std::int64_t e = 0; e < x.m * x.n && failures < 3; ++e) {
    const double value = value_of(kernel, got[e]), exact = want.sum[e];
    const double limit = bound(kernel, x.k, want.sum_abs[e]);
    bool ok = false;
    if (std::isnan(exact))
      ok = std::isnan(value);
    else if (std::isinf(exact))
      ok = value == exact;
    else
      ok = std::fabs(value - exact) <= limit;
    if (ok) continue;
    ++failures;
    ADD_FAILURE() << "row " << e / x.n << " column " << e % x.n << " is " << value << ", not "
                  << exact << "; allowed difference " << limit;
  }
}

class GemmKernel : public testing::TestWithParam<const Kernel*> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel.isa && !row.available) GTEST_SKIP() << row.reason;
    if (kernel.enter) kernel.enter();
  }
  void TearDown() override {
    if (kernel.leave && !IsSkipped()) kernel.leave();
  }
  /// The product in all ways, each against the reference.
  void check(const Shape& shape, const Fill& fill) {
    SCOPED_TRACE(testing::Message()
                 << shape.m << "x" << shape.k << "x" << shape.n << " pad " << shape.pad << " at "
                 << (shape.at_end ? "end" : "start") << " seed " << seed_);
    std::mt19937 random(seed_++);
    const Operands x = make(kernel, shape, fill, random);
    const Words plain = multiply(kernel, x, {});
    compare(kernel, x, plain, expect(x, false));
    EXPECT_EQ(plain, multiply(kernel, x, {.transposed = true})) << "pack_bt differs from pack_b";
  }
  const Kernel& kernel = *GetParam();
  // Fixed unless --gtest_shuffle is given; then --gtest_random_seed repeats a run.
  unsigned seed_ = 1u + 1000003u * testing::UnitTest::GetInstance()->random_seed();
};

class GemmIntegerKernel : public GemmKernel {};
class GemmFloatKernel : public GemmKernel {};
class GemmPlainKernel : public GemmKernel {};  // one addition per k in rising k, or exact

// k around one step, around what is transposed at once (16 words), and a few of those.
std::vector<std::int64_t> interesting_k(const Kernel& kernel) {
  std::set<std::int64_t> values;
  const std::int64_t step = kernel.k_step;
  for (std::int64_t k = 1; k <= 2 * step + 1; ++k) values.insert(k);
  for (std::int64_t words : {8, 16, 32, 64})
    for (std::int64_t off : {-step - 1, -step, -step + 1, -1L, 0L, 1L, step - 1, step})
      values.insert(std::max<std::int64_t>(1, words * std::min<std::int64_t>(step, 4) + off));
  return {values.begin(), values.end()};
}

TEST_P(GemmKernel, EveryRowCount) {
  for (std::int64_t m = 1; m <= kernel.mr + 2; ++m)
    for (int pad : {0, 5}) check({m, kernel.nr + 1, 3 * kernel.k_step + 1, pad}, ordinary);
}

TEST_P(GemmKernel, EveryColumnCount) {
  for (std::int64_t n = 1; n <= 2 * kernel.nr + 1; ++n)
    for (int pad : {0, 3}) check({2, n, 2 * kernel.k_step + 1, pad, n % 2 == 0}, ordinary);
}

TEST_P(GemmKernel, EveryDepth) {
  for (std::int64_t k : interesting_k(kernel))
    for (bool at_end : {true, false})
      check({kernel.mr, kernel.nr + 3, k, at_end ? 0 : 1, at_end}, ordinary);
}

TEST_P(GemmKernel, AllExponents) {
  for (int repeat = 0; repeat < 10; ++repeat)
    check({kernel.mr - repeat % 3 % kernel.mr, kernel.nr - repeat % 5, 100 + 7 * repeat, repeat},
          wide);
}

TEST_P(GemmKernel, DeepSums) {
  for (std::int64_t k : {1000, 3333}) check({kernel.mr, kernel.nr, k, 1}, ordinary);
}

TEST_P(GemmIntegerKernel, Extremes) {
  for (int a : {-128, 127})
    for (int b : {-128, 127}) {
      std::int64_t made = 0;  // all of A is made first
      const Shape shape{kernel.mr, kernel.nr, 4096 + 3};
      check(shape, [&](DType type, std::mt19937&) {
        return to_bits(type, made++ < shape.m * shape.k ? a : b);
      });
    }
}

// The sum of an element is taken in one order, whatever surrounds it.
TEST_P(GemmKernel, BitsDoNotDependOnBlocking) {
  for (int repeat = 0; repeat < 12; ++repeat) {
    SCOPED_TRACE(testing::Message() << "seed " << seed_);
    std::mt19937 random(seed_++);
    const std::int64_t step = kernel.k_step;
    const std::int64_t k = 1 + random() % (40 * step);
    const auto up_to = [&](std::int64_t limit) {
      return std::uniform_int_distribution<std::int64_t>(1, limit)(random);
    };
    const Shape shape{up_to(2 * kernel.mr), up_to(3 * kernel.nr), k, static_cast<int>(up_to(9))};
    const Operands x = make(kernel, shape, repeat % 2 ? Fill(wide) : Fill(ordinary), random);
    const bool with_bias = repeat % 3 == 0;
    const Words whole = multiply(kernel, x, {.with_bias = with_bias});
    compare(kernel, x, whole, expect(x, with_bias));
    Way way{.with_bias = with_bias};
    for (std::int64_t cut = step * (1 + random() % 9); cut < k; cut += step * (1 + random() % 19))
      way.cuts.push_back(cut);
    for (bool transposed : {false, true})
      for (std::int64_t strip : {0, 1, 3, 17}) {
        way.transposed = transposed;
        way.strip = strip * step;
        EXPECT_EQ(whole, multiply(kernel, x, way))
            << (transposed ? "pack_bt" : "pack_b") << " in strips of " << way.strip;
      }
  }
}

TEST_P(GemmKernel, BitsDoNotDependOnNeighbours) {
  SCOPED_TRACE(testing::Message() << "seed " << seed_);
  std::mt19937 random(seed_++);
  const Operands x =
      make(kernel, {kernel.mr, kernel.nr, 9 * kernel.k_step + 1, 2}, ordinary, random);
  const Words whole = multiply(kernel, x, {});
  for (std::int64_t m = 1; m < x.m; ++m)
    for (std::int64_t n : {x.n / 2, x.n}) {
      Operands part = x;
      part.m = m;
      part.n = n;
      part.a.data += bytes_of(x.type, x.a.stride) * (x.m - m);  // the last m rows
      const Words got = multiply(kernel, part, {.transposed = m % 2 == 0});
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j)
          ASSERT_EQ(got[i * n + j], whole[(x.m - m + i) * x.n + j])
              << "row " << i << " of " << m << ", column " << j << " of " << n;
    }
}

TEST_P(GemmKernel, StartsFromZeroBiasOrAcc) {
  for (std::int64_t k : {1, 2 * kernel.k_step, 50}) {
    SCOPED_TRACE(testing::Message() << "k " << k << " seed " << seed_);
    std::mt19937 random(seed_++);
    const Operands x = make(kernel, {kernel.mr, 2 * kernel.nr - 1, k}, ordinary, random);
    const Words with_bias = multiply(kernel, x, {.with_bias = true});
    compare(kernel, x, with_bias, expect(x, true));
    EXPECT_EQ(with_bias, multiply(kernel, x, {.bias_in_acc = true}));
    // A bias that is given but not first must not be used.
    EXPECT_EQ(with_bias, multiply(kernel, x, {.with_bias = true, .bias_in_acc = true}));
  }
}

TEST_P(GemmFloatKernel, InfAndNanSpreadAsInTheReference) {
  const bool half = kernel.a == DType::kFloat16;
  const std::uint16_t inf = half ? 0x7c00 : 0x7f80, nan = half ? 0x7e01 : 0x7fc1;
  const std::uint16_t specials[] = {inf, static_cast<std::uint16_t>(inf | 0x8000), nan,
                                    static_cast<std::uint16_t>(nan | 0x8000),
                                    static_cast<std::uint16_t>(inf | 1)};  // a signalling nan
  for (int repeat = 0; repeat < 40; ++repeat) {
    // From one special element in about 2000 to one in 10; zeros, so that inf meets 0.
    const unsigned rarity = repeat % 4 == 0 ? 10 : repeat % 4 == 1 ? 100 : 2000;
    const unsigned kinds = repeat % 3 == 0 ? 1 : repeat % 3 == 1 ? 2 : 5;
    check({1 + repeat % (2 * kernel.mr), 1 + 7 * repeat % (2 * kernel.nr), 1 + 3 * repeat, 1},
          [&](DType type, std::mt19937& random) -> std::uint16_t {
            if (random() % rarity == 0) return specials[random() % kinds];
            if (random() % 8 == 0) return random() % 2 ? 0x8000 : 0;
            return ordinary(type, random);
          });
  }
}

// One fused multiply-add per k in rising k, or exact integers: bits equal across instruction sets.
TEST_P(GemmPlainKernel, SameArithmeticAsScalar) {
  const Kernel& scalar = *select(kernel.a, isa::kScalar);
  for (int repeat = 0; repeat < 8; ++repeat) {
    SCOPED_TRACE(testing::Message() << "seed " << seed_);
    std::mt19937 random(seed_++);
    const Operands x = make(kernel, {kernel.mr, kernel.nr + 1, 20 + 31 * repeat},
                            repeat % 2 ? Fill(wide) : Fill(ordinary), random);
    EXPECT_EQ(multiply(kernel, x, {}), multiply(scalar, x, {.transposed = true}));
  }
}

std::vector<const Kernel*> rows_where(bool (*wanted)(const Kernel&)) {
  std::vector<const Kernel*> rows;
  for (const Kernel& kernel : kernels())
    if (wanted(kernel)) rows.push_back(&kernel);
  return rows;
}
std::string row_name(const testing::TestParamInfo<const Kernel*>& info) {
  return std::string(info.param->name);
}
bool any(const Kernel&) { return true; }
bool is_integer(const Kernel& kernel) { return kernel.acc == DType::kInt32; }
bool is_float(const Kernel& kernel) { return !is_integer(kernel); }
bool is_plain(const Kernel& kernel) {
  return is_integer(kernel) || (kernel.isa & (isa::kScalar | isa::kAvx2 | isa::kAvx512));
}
INSTANTIATE_TEST_SUITE_P(Table, GemmKernel, testing::ValuesIn(rows_where(any)), row_name);
INSTANTIATE_TEST_SUITE_P(Table, GemmIntegerKernel, testing::ValuesIn(rows_where(is_integer)),
                         row_name);
INSTANTIATE_TEST_SUITE_P(Table, GemmFloatKernel, testing::ValuesIn(rows_where(is_float)), row_name);
INSTANTIATE_TEST_SUITE_P(Table, GemmPlainKernel, testing::ValuesIn(rows_where(is_plain)), row_name);

TEST(GemmTable, RowsAreConsistent) {
  std::set<std::string_view> names;
  for (const Kernel& kernel : kernels()) {
    SCOPED_TRACE(kernel.name);
    EXPECT_TRUE(names.insert(kernel.name).second) << "two rows with one name";
    EXPECT_EQ(kernel.a, kernel.b);
    EXPECT_EQ(kernel.acc, kernel.a == DType::kInt8 ? DType::kInt32 : DType::kFloat32);
    EXPECT_EQ(kernel.a_header_bytes % 64, 0);
    EXPECT_EQ(kernel.b_header_bytes % 64, 0);
    // Every step of B is whole cache lines, so every k block of every panel is aligned.
    EXPECT_EQ(kernel.nr * kernel.k_step * kernel.b_bytes % 64, 0);
    EXPECT_TRUE(std::has_single_bit(kernel.isa));
  }
}

TEST(GemmTable, SelectsTheFirstRowThatRuns) {
  for (DType type : {DType::kFloat16, DType::kBFloat16, DType::kInt8}) {
    ASSERT_NE(select(type, isa::kScalar), nullptr) << to_string(type);
    EXPECT_EQ(select(type, isa::kScalar)->isa, isa::kScalar);
    EXPECT_EQ(select(type, 0), nullptr);
    const isa::Set all = ~isa::Set{0};
    const auto first = std::find_if(kernels().begin(), kernels().end(),
                                    [&](const Kernel& kernel) { return kernel.a == type; });
    EXPECT_EQ(select(type, all), &*first);
    const Kernel* second = select(type, all & ~first->isa);
    EXPECT_EQ(second == nullptr, first->isa == isa::kScalar);
    EXPECT_TRUE(second == nullptr || second->a == type);
  }
  EXPECT_EQ(select(DType::kInt4, ~isa::Set{0}), nullptr);
}

}  // namespace
}  // namespace weft::gemm
