// SPDX-License-Identifier: Apache-2.0
// Every row of narrow.inc whose weight is in the kernel's type, in both forms, against the tile
// kernel of the same row: the same bits, from the same operands, or the promise to write nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/gemm/test_support.h"

namespace weft::gemm {
namespace {

struct Form {
  const Kernel* kernel;
  bool along_n;
};

struct Result {
  bool done;
  Words acc;  // m x n
};

/// One panel (x.n <= narrow.columns) or strip.
Result multiply_narrow(const Form& form, const Operands& x, bool with_bias) {
  constexpr std::int64_t kBefore = 20;  // acc need not be aligned
  const Kernel& kernel = *form.kernel;
  Panels packed(1, kernel.x_panel_bytes(x.k));
  const int m = static_cast<int>(x.m), n = static_cast<int>(x.n);
  kernel.narrow.pack_x({x.a.data, bytes_of(x.type, x.a.stride), m, x.k, packed.first});
  EXPECT_TRUE(packed.intact()) << "pack_x wrote outside its panel";
  const std::int64_t acc_row = (form.along_n ? n : kernel.narrow.columns) * 4,
                     acc_stride = acc_row + 36;
  std::vector<std::byte> storage(64 + kBefore + m * acc_stride + 64, std::byte{kCanary});
  std::byte* acc = align(storage) + kBefore;
  const View& w = form.along_n ? x.b : x.bt;
  if (kernel.narrow.enter) kernel.narrow.enter(m);
  const NarrowFn narrow = kernel.narrow_for(kernel.b, form.along_n);
  const bool done = narrow({.m = m,
                            .n = n,
                            .k = x.k,
                            .x = packed.first,
                            .w = w.data,
                            .stride_bytes = bytes_of(x.type, w.stride),
                            .acc = acc,
                            .acc_stride_bytes = acc_stride,
                            .bias = with_bias ? x.bias.data() : nullptr,
                            .first = n % 2 == 0,
                            .last = m % 2 == 0});
  if (kernel.enter) kernel.enter();
  bool ok = all_canary(acc - kBefore, kBefore) && all_canary(acc + m * acc_stride, 64);
  for (int r = 0; r < m; ++r) ok = ok && all_canary(acc + r * acc_stride + acc_row, 36);
  EXPECT_TRUE(ok) << "the narrow kernel wrote outside its sums";
  if (!done) {
    EXPECT_TRUE(all_canary(acc, m * acc_stride)) << "refused, but wrote";
  }
  Result result{done, Words(m * n)};
  for (int r = 0; r < m; ++r) std::memcpy(&result.acc[r * n], acc + r * acc_stride, n * 4);
  return result;
}

class NarrowTest : public testing::TestWithParam<Form> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel.isa && !row.available) GTEST_SKIP() << row.reason;
    if (kernel.enter) kernel.enter();
  }
  void TearDown() override {
    if (!IsSkipped() && kernel.leave) kernel.leave();
  }
  Words of_tile(const Operands& x, bool with_bias, const std::vector<std::int64_t>& cuts = {}) {
    return multiply(kernel, x, {.transposed = !form.along_n, .cuts = cuts, .with_bias = with_bias});
  }
  void expect_bits_of_tile(const Operands& x, bool with_bias) {
    const Result got = multiply_narrow(form, x, with_bias);
    ASSERT_TRUE(got.done);
    ASSERT_EQ(got.acc, of_tile(x, with_bias));
  }
  /// Columns of a panel at most; of a strip, what columns() takes.
  std::int64_t widest() const { return form.along_n ? kernel.nr : kernel.narrow.columns; }
  /// 1..widest() become as many columns of a panel, or other numbers of columns of a strip.
  std::int64_t columns(std::int64_t n) const {
    return form.along_n ? (n * n + 5 * n) % 139 + 1 : n;
  }
  const Form& form = GetParam();
  const Kernel& kernel = *form.kernel;
};

// Operands end at (or start behind) a page that may not be touched; pads of odd elements make the
// rows of the weight unaligned.
TEST_P(NarrowTest, HasTheBitsOfTheTileKernel) {
  const std::int64_t step = kernel.k_step;
  const std::int64_t depths[] = {
      1, 2, 3, 2 * step - 1, step, step + 1, 2 * step, 5 * step + 61, 67 * step - 1};
  unsigned seed = 100;
  for (std::int64_t m = 1; m <= kernel.narrow.rows; ++m)
    for (std::int64_t n = 1; n <= widest(); n += n < kernel.nr ? 1 : 31) {
      const std::int64_t k = depths[(m + n) % std::size(depths)];
      for (const Fill& fill : {Fill(ordinary), Fill(wide)}) {
        const Shape shape{m, columns(n), k, static_cast<int>((m + 3 * n) % 5), (m + n) % 3 != 0};
        std::mt19937 random(++seed);
        SCOPED_TRACE(testing::Message() << "m " << m << " n " << shape.n << " k " << k << " pad "
                                        << shape.pad << " seed " << seed);
        const Operands x = make(kernel, shape, fill, random);
        ASSERT_NO_FATAL_FAILURE(expect_bits_of_tile(x, seed % 2));
      }
    }
}

TEST_P(NarrowTest, EveryRemainderOfK) {
  unsigned seed = 5000;
  for (std::int64_t k = 1; k <= 3 * kernel.k_step; ++k)
    for (const std::int64_t n :
         {std::int64_t{1}, std::int64_t{16}, std::int64_t{kernel.nr}, widest()}) {
      std::mt19937 random(++seed);
      SCOPED_TRACE(testing::Message() << "n " << n << " k " << k << " seed " << seed);
      const Shape shape{1 + k % kernel.narrow.rows, columns(n), k, static_cast<int>(k % 2)};
      const Operands x = make(kernel, shape, ordinary, random);
      ASSERT_NO_FATAL_FAILURE(expect_bits_of_tile(x, k % 2));
    }
}

// Rows of a weight that share sets of L1.
TEST_P(NarrowTest, RowsAreAPowerOfTwoApart) {
  if (!form.along_n) GTEST_SKIP() << "of columns nothing depends on it";
  unsigned seed = 7000;
  for (std::int64_t m = 1; m <= kernel.narrow.rows; ++m) {
    std::mt19937 random(++seed);
    SCOPED_TRACE(testing::Message() << "m " << m << " seed " << seed);
    const std::int64_t n = 64 + 8 * m, k = 40 * kernel.k_step + m % 3;
    const Shape shape{m, n, k, static_cast<int>(1024 - n)};
    const Operands x = make(kernel, shape, ordinary, random);
    ASSERT_NO_FATAL_FAILURE(expect_bits_of_tile(x, m % 2));
  }
}

// Long sums, where every rounding shows, also against a tile kernel that takes k in blocks.
TEST_P(NarrowTest, LongSumsDoNotDependOnRows) {
  std::mt19937 random(77);
  const std::int64_t k = 2048 + 5;
  Operands x = make(kernel, {kernel.narrow.rows, kernel.nr, k, 3}, ordinary, random);
  const Result all = multiply_narrow(form, x, true);
  ASSERT_TRUE(all.done);
  EXPECT_EQ(all.acc, of_tile(x, true, {512, 1024}));
  const std::byte* first = x.a.data;
  const std::int64_t rows = x.m;
  for (std::int64_t row = 0; row < rows; ++row) {
    x.m = 1;
    x.a.data = first + row * bytes_of(x.type, x.a.stride);
    const Result one = multiply_narrow(form, x, true);
    ASSERT_TRUE(one.done);
    EXPECT_TRUE(std::equal(one.acc.begin(), one.acc.end(), all.acc.begin() + row * x.n)) << row;
  }
}

// Either the bits of the tile kernel or a refusal; a refusal only if there is something special.
TEST_P(NarrowTest, InfAndNan) {
  if (kernel.acc == DType::kInt32) GTEST_SKIP() << "integers have neither";
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  unsigned seed = 9000;
  for (const double special : {inf, -inf, nan})
    for (const bool in_weight : {false, true})
      for (const std::int64_t n :
           {std::int64_t{7}, std::int64_t{16}, std::int64_t{kernel.nr}, widest()})
        for (const bool other_is_zero : {false, true}) {
          std::mt19937 random(++seed);
          SCOPED_TRACE(testing::Message() << special << (in_weight ? " in w" : " in x") << " n "
                                          << n << " seed " << seed);
          const std::int64_t k = 3 * kernel.k_step + 9, m = 5;
          const std::int64_t at = random() % k, row = random() % (in_weight ? n : m);
          // Columns of b and rows of a are filled in this order: a, then b [k, n].
          std::int64_t element = 0;
          const Fill fill = [&](DType type, std::mt19937& r) {
            const std::int64_t e = element++;
            const bool here = in_weight ? e == m * k + at * n + row : e == row * k + at;
            const bool met = in_weight ? e < m * k && e % k == at
                                       : e >= m * k + at * n && e < m * k + at * n + n;
            if (here) return to_bits(type, special);
            if (met && other_is_zero) return to_bits(type, 0);
            return ordinary(type, r);
          };
          const Operands x = make(kernel, {m, n, k}, fill, random);
          const Result got = multiply_narrow(form, x, true);
          if (got.done)
            EXPECT_EQ(got.acc, of_tile(x, true));
          else
            EXPECT_NE(kernel.x_panel_bytes(k),
                      kernel.padded_k(k) * kernel.narrow.rows * bytes_of(kernel.a, 1))
                << "only types that are split may refuse";
        }
}

std::vector<Form> forms() {
  std::vector<Form> result;
  for (const Kernel& kernel : kernels())
    for (const bool along_n : {false, true})
      if (kernel.narrow_for(kernel.b, along_n)) result.push_back({&kernel, along_n});
  return result;
}

INSTANTIATE_TEST_SUITE_P(Gemm, NarrowTest, testing::ValuesIn(forms()), [](const auto& info) {
  return std::string(info.param.kernel->name) + (info.param.along_n ? "_along_n" : "_along_k");
});

// A row of narrow.inc whose isa and type are in no row of kernels.inc would be lost.
TEST(NarrowTable, EveryRowIsFound) {
  std::size_t rows = 0;
#define WEFT_GEMM_NARROW(isa, type, rows_, columns, x_bytes, enter, pack_x, narrow) ++rows;
#define WEFT_GEMM_NARROW_STORED(isa, type, stored, narrow)
#define WEFT_GEMM_NARROW_ROWS(isa, type, stored, narrow) rows += #type == std::string(#stored);
#include "kernels/gemm/narrow.inc"
#undef WEFT_GEMM_NARROW
#undef WEFT_GEMM_NARROW_STORED
#undef WEFT_GEMM_NARROW_ROWS
  EXPECT_EQ(forms().size(), rows);
}

}  // namespace
}  // namespace weft::gemm
