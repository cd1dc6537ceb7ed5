// SPDX-License-Identifier: Apache-2.0
// Every line of kernels.inc against the reference, bit for bit (nan as nan): all lengths around a
// line, sources that end where memory ends, destinations at several alignments between canaries.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "base/float16.h"
#include "kernels/rows/reference.h"
#include "kernels/rows/rows.h"
#include "kernels/rows/test_memory.h"

namespace weft::rows {
namespace {

using U16 = std::uint16_t;
constexpr Store kStores[] = {Store::kPlain, Store::kStream};

enum class Data { kNormal, kWide, kAnyBits };

class Rows : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel().isa && !row.available) GTEST_SKIP() << row.reason;
  }
  const Kernels& kernel() const { return kernels()[GetParam()]; }
  DType type() const { return kernel().type; }

  static std::vector<std::int64_t> lengths() {
    std::vector<std::int64_t> all;
    for (int n = 1; n <= 130; ++n) all.push_back(n);
    for (int n : {255, 1000, 8192, 65537}) all.push_back(n);
    return all;
  }
  U16 narrow_one(double value) const {
    return type() == DType::kFloat16 ? f64_to_fp16(value) : f64_to_bf16(value);
  }
  double widen_one(U16 bits) const { return reference::load(type(), &bits, 0); }

  U16 random_value(Data data) {
    if (data == Data::kAnyBits) return static_cast<U16>(rng_());
    const double value = std::normal_distribution<double>()(rng_);
    // Wide: exponents where sums cancel and lose bits, squares do not overflow, some subnormals.
    const int spread = type() == DType::kFloat16 ? 26 : 60;
    return narrow_one(data == Data::kNormal
                          ? value
                          : std::ldexp(value, static_cast<int>(rng_() % spread) - spread + 10));
  }
  std::vector<U16> random_row(std::int64_t n, Data data) {
    std::vector<U16> row(n);
    for (U16& value : row) value = random_value(data);
    return row;
  }

  // Empty if equal (nan as nan), else the first difference.
  std::string difference(const U16* want, const U16* got, std::int64_t n) const {
    for (std::int64_t j = 0; j < n; ++j) {
      const double w = widen_one(want[j]), g = widen_one(got[j]);
      if (want[j] != got[j] && !(std::isnan(w) && std::isnan(g)))
        return "element " + std::to_string(j) + " of " + std::to_string(n) + ": want " +
               std::to_string(w) + ", got " + std::to_string(g);
    }
    return "";
  }

  // run(dst, store) writes n elements; they must be `want`, at every alignment, either way.
  template <class Run>
  void expect_row(const std::vector<U16>& want, const Run& run) {
    const auto n = std::ssize(want);
    for (Store store : kStores) {
      for (int offset : {0, 1, 16, 31}) {
        Canaried<U16> dst(n, offset);
        run(dst.data(), store);
        stream_fence();
        ASSERT_EQ(difference(want.data(), dst.data(), n), "")
            << "offset " << offset << " store " << static_cast<int>(store);
        ASSERT_TRUE(dst.guards_intact()) << "n " << n << " offset " << offset;
      }
    }
  }

  // --gtest_shuffle with --gtest_random_seed gives other data.
  const int seed_ = testing::UnitTest::GetInstance()->random_seed();
  std::mt19937 rng_{static_cast<unsigned>(seed_)};
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  EndOfMemory memory_[4];
};

TEST_P(Rows, StoreTile) {
  for (int n = 1; n <= 130; ++n) {
    const int m = n % 32 == 0 ? 32 : 3, acc_stride = n + n % 5, dst_stride = n + n % 3 * 7;
    std::vector<float> acc(m * acc_stride), scale(n);
    std::vector<std::int32_t> acc_int(acc.size());
    for (float& x : acc) x = static_cast<float>(std::normal_distribution<double>(0, 300)(rng_));
    for (auto& x : acc_int) x = static_cast<std::int32_t>(rng_()) >> (rng_() % 24);
    for (float& x : scale) x = static_cast<float>(std::normal_distribution<double>(0, 1e-4)(rng_));
    acc[0] = INFINITY;
    acc[acc.size() / 2] = 1e38f;
    acc_int[0] = INT32_MIN;
    StoreTile tile = {.m = m,
                      .n = n,
                      .acc = memory_[0].put(acc),
                      .acc_stride_bytes = acc_stride * 4,
                      .dst_stride_bytes = dst_stride * 2,
                      .scale = memory_[1].put(scale)};
    const auto expect_tile = [&](auto reference_fn, StoreTileFn fn) {
      std::vector<U16> want(m * dst_stride, 0xc5c5);
      tile.dst = want.data();
      reference_fn(type(), tile);
      expect_row(want, [&](U16* dst, Store store) {
        tile.dst = dst;
        tile.store = store;
        fn(tile);
      });
    };
    expect_tile(reference::store_tile_f32, kernel().store_tile_f32);
    tile.acc = memory_[0].put(acc_int);
    for (int step : {0, 1}) {
      tile.scale_step = step;
      tile.scale =
          memory_[1].put(std::vector(scale.begin(), step ? scale.end() : scale.begin() + 1));
      expect_tile(reference::store_tile_s32, kernel().store_tile_s32);
    }
    if (HasFatalFailure()) return;
  }
}

// The same elements as one tile and as panels of 32 columns.
TEST_P(Rows, StoreTileOfPanels) {
  for (const int n : {1, 31, 32, 33, 64, 100}) {
    constexpr int kRows = 5, kColumns = 32;
    const int panels = (n + kColumns - 1) / kColumns;
    std::vector<float> tile(kRows * n), scale(n, 0.25f), in_panels(panels * kRows * kColumns);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < n; ++j) {
        tile[i * n + j] = static_cast<float>(std::normal_distribution<double>()(rng_));
        in_panels[(j / kColumns * kRows + i) * kColumns + j % kColumns] = tile[i * n + j];
      }
    for (const StoreTileFn fn : {kernel().store_tile_f32, kernel().store_tile_s32}) {
      std::vector<U16> want(kRows * n), got(kRows * n);
      StoreTile store = {.m = kRows, .n = n, .acc = tile.data(), .acc_stride_bytes = n * 4};
      store.dst = want.data();
      store.dst_stride_bytes = n * 2;
      store.scale = scale.data();
      store.scale_step = 1;
      fn(store);
      store.acc = in_panels.data();
      store.acc_stride_bytes = kColumns * 4;
      store.panel_columns = kColumns;
      store.panel_stride_bytes = kRows * kColumns * 4;
      store.dst = got.data();
      fn(store);
      EXPECT_EQ(got, want) << "n " << n;
    }
  }
}

TEST_P(Rows, SumRows) {
  for (std::int64_t n : lengths()) {
    const int count = n > 1000 ? 3 : 1 + static_cast<int>(n % 16);
    for (Data data : {Data::kNormal, Data::kWide, Data::kAnyBits}) {
      std::vector<std::vector<U16>> rows(count);
      std::vector<const void*> src;
      for (auto& row : rows) {
        row = random_row(n, data);
        src.push_back(src.size() < 4 ? memory_[src.size()].put(row) : row.data());
      }
      std::vector<U16> want(n);
      reference::sum_rows(type(), {src.data(), count, n, want.data()});
      expect_row(want, [&](U16* dst, Store store) {
        kernel().sum_rows({src.data(), count, n, dst, store});
      });
      // In place of each source in turn.
      for (int r = 0; r < count; ++r) {
        auto in_place = src;
        std::vector<U16> row = rows[r];
        in_place[r] = row.data();
        kernel().sum_rows({in_place.data(), count, n, row.data(), kStores[r % 2]});
        ASSERT_EQ(difference(want.data(), row.data(), n), "") << "in place of " << r;
      }
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Rows, SumRowsAddsInRankOrderAndRoundsOnce) {
  const auto sum = [&](const std::vector<double>& values) {
    std::vector<U16> src;
    for (double value : values) src.push_back(narrow_one(value));
    std::vector<const void*> pointers;
    for (U16& value : src) pointers.push_back(&value);
    U16 dst;
    kernel().sum_rows({pointers.data(), static_cast<int>(values.size()), 1, &dst, Store::kPlain});
    return widen_one(dst);
  };
  // big + small is a tie in fp32 that goes to big; small + small first is one unit of big.
  const double big = type() == DType::kFloat16 ? 0x1p15 : 0x1p24;
  const double small = big * 0x1p-24;
  EXPECT_EQ(sum({big, small, small, -big}), 0);
  EXPECT_EQ(sum({small, small, big, -big}), 2 * small);
  EXPECT_EQ(sum({small, big, small, -big}), 0);
  // Rounded to T after each addition, the small ones would vanish.
  const double unit = type() == DType::kFloat16 ? 0x1p-11 : 0x1p-8;
  EXPECT_EQ(sum({1, unit, unit}), 1 + 2 * unit);
  const double most = type() == DType::kFloat16 ? 65504 : 0x1.fep127;
  EXPECT_EQ(sum({most, most}), INFINITY);
  EXPECT_EQ(sum({-most, -most}), -INFINITY);
  EXPECT_TRUE(std::isnan(sum({INFINITY, -INFINITY})));
  EXPECT_TRUE(std::signbit(sum({-0.0})));
  const double least = type() == DType::kFloat16 ? 0x1p-24 : 0x1p-133;
  EXPECT_EQ(sum({least, least, least}), 3 * least);
}

TEST_P(Rows, AddRmsNorm) {
  for (std::int64_t n : lengths()) {
    for (Data data : {Data::kNormal, Data::kWide}) {
      auto m = random_row(n, data), residual = random_row(n, data), gamma = random_row(n, data);
      if (n % 50 == 0) m[n / 2] = narrow_one(n % 100 == 0 ? INFINITY : NAN);
      std::vector<U16> y(n), out(n), scratch_want(n);
      reference::add_rmsnorm_row(type(), {n, m.data(), residual.data(), gamma.data(), 1e-5f,
                                          y.data(), out.data(), scratch_want.data()});
      Canaried<U16> scratch((n + 31) / 32 * 32, 0);
      AddRmsNormRow row = {.n = n,
                           .m = memory_[0].put(m),
                           .residual = memory_[1].put(residual),
                           .gamma = memory_[2].put(gamma),
                           .epsilon = 1e-5f,
                           .scratch = scratch.data()};
      for (int y_offset : {0, 8}) {
        for (bool in_place : {false, true}) {
          Canaried<U16> y_got(n, y_offset);
          expect_row(out, [&](U16* dst, Store store) {
            std::memcpy(y_got.data(), residual.data(), n * sizeof(U16));
            row.residual = in_place ? y_got.data() : memory_[1].put(residual);
            row.y = y_got.data();
            row.out = dst;
            row.store = store;
            kernel().add_rmsnorm_row(row);
            stream_fence();
            ASSERT_EQ(difference(y.data(), y_got.data(), n), "") << "y, in place " << in_place;
          });
          ASSERT_TRUE(y_got.guards_intact() && scratch.guards_intact()) << "n " << n;
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// From the y it produced, a row differs from unrounded arithmetic by: two roundings to T (h, out),
// one fp32 product, and rstd, whose mean square is a sum of positive terms with at most
// n/32 + 5 additions, a square and 1/n in each, and whose root halves the error; then one addition,
// one square root, one division. Below the normal range a rounding is half a subnormal step.
TEST_P(Rows, AddRmsNormIsCloseToDouble) {
  const double u = info(type()).unit_roundoff, u32 = 0x1p-24;
  const double half_step = type() == DType::kFloat16 ? 0x1p-25 : 0x1p-134;
  for (std::int64_t n : {1, 5, 64, 1000, 8192, 65536}) {
    auto m = random_row(n, Data::kNormal), residual = random_row(n, Data::kNormal),
         gamma = random_row(n, Data::kNormal);
    Canaried<U16> scratch((n + 31) / 32 * 32, 0);
    std::vector<U16> y(n), out(n);
    kernel().add_rmsnorm_row({n, m.data(), residual.data(), gamma.data(), 1e-6f, y.data(),
                              out.data(), scratch.data(), Store::kPlain});
    std::vector<double> want(n);
    reference::rmsnorm_row_f64(type(), n, y.data(), gamma.data(), 1e-6f, want.data());
    const double rstd_error = ((n + 31) / 32 + 5 + 2 + 1) * u32 / 2 + 2 * u32;
    const double relative = (1 + u) * (1 + u) * (1 + u32) * (1 + 1.01 * rstd_error) - 1;
    for (std::int64_t j = 0; j < n; ++j) {
      const double exact_y = widen_one(m[j]) + widen_one(residual[j]);
      ASSERT_LE(std::abs(widen_one(y[j]) - exact_y), u * std::abs(exact_y) * (1 + u32) + half_step);
      const double bound =
          relative * std::abs(want[j]) + half_step * (1 + 1.01 * std::abs(widen_one(gamma[j])));
      ASSERT_LE(std::abs(widen_one(out[j]) - want[j]), bound) << "element " << j << " of " << n;
    }
  }
}

TEST_P(Rows, AddRmsNormExample) {
  const auto row = [&](std::initializer_list<double> values) {
    std::vector<U16> bits;
    for (double value : values) bits.push_back(narrow_one(value));
    return bits;
  };
  const auto m = row({1, 2, 3, 4}), residual = row({.5, .25, -1, .1}), gamma = row({1, .5, 2, 1.5});
  alignas(64) U16 scratch[32];
  std::vector<U16> y(4), out(4);
  kernel().add_rmsnorm_row({4, m.data(), residual.data(), gamma.data(), 1e-6f, y.data(), out.data(),
                            scratch, Store::kPlain});
  const bool half = type() == DType::kFloat16;
  EXPECT_EQ(y, row({1.5, 2.25, 2.0, half ? 4.1015625 : 4.09375}));
  EXPECT_EQ(out, half ? row({0.5654297, 0.4240723, 1.5078125, 2.3203125})
                      : row({0.56640625, 0.423828125, 1.5078125, 2.3125}));
}

TEST_P(Rows, Antiquant) {
  for (std::int64_t n : lengths()) {
    for (int variant = 0; variant < 8; ++variant) {
      const int step = variant & 1, nibble = variant >> 1 & 1;
      const bool with_offset = variant & 4;
      const Data data = n % 7 == 3 ? Data::kAnyBits : n % 2 ? Data::kNormal : Data::kWide;
      std::vector<std::int8_t> int8(n);
      std::vector<std::uint8_t> int4((n + nibble + 1) / 2);
      for (auto& w : int8) w = static_cast<std::int8_t>(rng_());
      for (auto& w : int4) w = static_cast<std::uint8_t>(rng_());
      AntiquantRow row = {.src = memory_[0].put(int8),
                          .n = n,
                          .scale = memory_[1].put(random_row(step ? n : 1, data)),
                          .offset = nullptr,
                          .step = step};
      if (with_offset) row.offset = memory_[2].put(random_row(step ? n : 1, data));
      std::vector<U16> want(n);
      const auto expect = [&](auto reference_fn, AntiquantRowFn fn) {
        row.dst = want.data();
        reference_fn(type(), row);
        expect_row(want, [&](U16* dst, Store) {
          row.dst = dst;
          fn(row);
        });
      };
      expect(reference::antiquant_int8_row, kernel().antiquant_int8_row);
      row.src = memory_[0].put(int4);
      row.src_nibble = nibble;
      expect(reference::antiquant_int4_row, kernel().antiquant_int4_row);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Rows, AntiquantExample) {
  const std::int8_t weight = 100;
  const U16 offset = narrow_one(0.3), scale = narrow_one(0.007);
  U16 dst;
  kernel().antiquant_int8_row({&weight, 0, 1, &scale, &offset, 0, &dst});
  if (type() == DType::kFloat16) {
    // 100.3125 after the first rounding; without it the product would round to another half.
    EXPECT_EQ(dst, narrow_one(0.7021484));
    EXPECT_EQ(widen_one(dst), 0.7021484375);
  } else {
    // 100.30078125 stays as it is: only the result is rounded.
    EXPECT_EQ(dst, narrow_one(100.30078125 * widen_one(scale)));
  }
}

TEST_P(Rows, WidenEveryValue) {
  std::vector<U16> all(65536);
  for (int i = 0; i < 65536; ++i) all[i] = static_cast<U16>(i);
  std::vector<float> got(all.size());
  kernel().widen(all.data(), got.data(), std::ssize(all));
  for (int i = 0; i < 65536; ++i) {
    const auto want = static_cast<float>(widen_one(all[i]));
    if (std::isnan(want))
      ASSERT_TRUE(std::isnan(got[i])) << i;
    else
      ASSERT_EQ(std::bit_cast<std::uint32_t>(want), std::bit_cast<std::uint32_t>(got[i])) << i;
  }
  for (int n = 1; n <= 130; ++n) {
    Canaried<float> dst(n, n % 16);
    const auto src = random_row(n, Data::kNormal);
    kernel().widen(memory_[0].put(src), dst.data(), n);
    for (int j = 0; j < n; ++j) ASSERT_EQ(dst.data()[j], widen_one(src[j])) << j << " of " << n;
    ASSERT_TRUE(dst.guards_intact()) << n;
  }
}

// Every value, every midpoint between neighbours, and what lies just beside both.
TEST_P(Rows, NarrowEveryValueAndMidpoint) {
  const bool half = type() == DType::kFloat16;
  std::vector<float> src;
  for (int i = 0; i < 65536; ++i) {
    const auto value = static_cast<float>(widen_one(static_cast<U16>(i)));
    const auto next = static_cast<float>(widen_one(static_cast<U16>(i + 1)));
    const float middle = half ? (value + next) / 2
                              : std::bit_cast<float>(static_cast<std::uint32_t>(i) << 16 | 0x8000u);
    for (float x : {value, middle})
      for (int beside : {-1, 0, 1})
        src.push_back(std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + beside));
  }
  for (float x : {65519.99f, 65520.0f, 65536.0f, 0x1p-25f, 0x1.000002p-25f, 0x1p-149f})
    for (float y : {x, -x}) src.push_back(y);
  for (std::uint32_t nan : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu})
    src.push_back(std::bit_cast<float>(nan));
  std::vector<U16> want(src.size());
  reference::narrow(type(), src.data(), want.data(), std::ssize(src));
  std::vector<U16> got(src.size());
  kernel().narrow(src.data(), got.data(), std::ssize(src));
  ASSERT_EQ(difference(want.data(), got.data(), std::ssize(src)), "");
  for (int n = 1; n <= 130; ++n) {
    const std::vector<float> some(src.begin() + 777 * n, src.begin() + 777 * n + n);
    reference::narrow(type(), some.data(), want.data(), n);
    const float* at_end = memory_[0].put(some);
    expect_row({want.begin(), want.begin() + n},
               [&](U16* dst, Store) { kernel().narrow(at_end, dst, n); });
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Rows, testing::Range(0, static_cast<int>(std::ssize(kernels()))),
                         [](const auto& info) { return std::string(kernels()[info.param].name); });

TEST(RowsTable, EveryTypeEndsInScalarAndNamesSayTheIsa) {
  for (DType type : {DType::kFloat16, DType::kBFloat16}) {
    isa::Set last = ~isa::Set{0};
    for (const Kernels& row : kernels()) {
      if (row.type != type) continue;
      EXPECT_LT(row.isa, last) << "best first: " << row.name;
      last = row.isa;
      for (const isa::Row& known : isa::rows()) {
        if (known.bit != row.isa) continue;
        EXPECT_EQ(row.name, "rows_" + std::string(to_string(type)) + "_" + std::string(known.name));
      }
      EXPECT_EQ(&select(type, row.isa), &row);
      EXPECT_EQ(&select(type, row.isa | isa::kScalar), &row);
    }
    EXPECT_EQ(last, isa::kScalar);
    EXPECT_EQ(select(type, 0).isa, isa::kScalar);
    EXPECT_EQ(select(type, isa::kScalar | isa::kAvx2 | isa::kAvx512 | isa::kAmxInt8).isa,
              isa::kAvx512);
  }
}

}  // namespace
}  // namespace weft::rows
