// SPDX-License-Identifier: Apache-2.0
// Sums of rows, restored weights, conversions, and the table: every line of kernels.inc against the
// reference.
#include <bit>

#include "kernels/rows/test_support.h"

namespace weft::rows {
namespace {

class Rows : public RowsTest {};

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
      expect_row(want, [&](U16* dst, Store store) {
        Canaried<U16> copy(n, 0);
        kernel().sum_rows({src.data(), count, n, dst, store, copy.data()});
        stream_fence();
        ASSERT_EQ(difference(want.data(), copy.data(), n), "") << "the copy";
        ASSERT_TRUE(copy.guards_intact()) << "n " << n;
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

TEST_P(Rows, SumRowsMultipliesBeforeItRounds) {
  for (std::int64_t n : lengths()) {
    const std::vector<U16> rows[] = {random_row(n, Data::kNormal), random_row(n, Data::kWide),
                                     random_row(n, Data::kAnyBits)};
    const void* src[] = {rows[0].data(), rows[1].data(), rows[2].data()};
    std::vector<U16> want(n), copy(n);
    SumRows sum = {src, 3, n, want.data(), Store::kPlain, nullptr, 1.0f / 3};
    reference::sum_rows(type(), sum);
    expect_row(want, [&](U16* dst, Store store) {
      kernel().sum_rows({src, 3, n, dst, store, nullptr, 1.0f / 3});
    });
    if (HasFatalFailure()) return;
  }
  // The largest T: no sum of it fits, their average does.
  const double most = type() == DType::kFloat16 ? 65504 : 0x1.fep127;
  const U16 large = narrow_one(most);
  const void* src[] = {&large, &large};
  U16 dst;
  kernel().sum_rows({src, 2, 1, &dst, Store::kPlain, nullptr, 0.5f});
  if (type() == DType::kFloat16)
    EXPECT_EQ(widen_one(dst), most);
  else
    EXPECT_TRUE(std::isinf(widen_one(dst)));  // nor does it fit fp32
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
    expect_row(std::vector(want.begin(), want.begin() + n),
               [&](U16* dst, Store) { kernel().narrow(at_end, dst, n); });
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Rows, testing::ValuesIn(lines_with(&Kernels::sum_rows)),
                         line_name);

TEST(RowsTable, EveryTypeEndsInScalarAndNamesSayTheIsa) {
  for (DType type : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
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
