// SPDX-License-Identifier: Apache-2.0
// quantize_row, encode_groups_row, decode_groups_row and blend_row of every line of kernels.inc
// that has them, against the reference bit for bit, and examples worked by hand.
#include <bit>
#include <initializer_list>

#include "kernels/rows/test_support.h"

namespace weft::rows {
namespace {

using Bytes = std::vector<std::int8_t>;

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

class RowsQuantize : public RowsTest {
 protected:
  static std::vector<std::int64_t> row_lengths() {
    auto all = lengths();
    for (int n : {1027, 7168}) all.push_back(n);
    return all;
  }
  std::vector<U16> row_of(std::initializer_list<double> values) const {
    std::vector<U16> row;
    for (double value : values) row.push_back(narrow_one(value));
    return row;
  }
  struct Quantized {
    Bytes q;
    float scale;
  };
  // The pattern is repeated, so that it fills lines and leaves a rest.
  Quantized quantized(const std::vector<U16>& pattern, const std::vector<float>& smooth = {}) {
    const std::int64_t period = std::ssize(pattern), n = period * 21;
    std::vector<U16> src(n);
    std::vector<float> smooth_row(n);
    for (std::int64_t j = 0; j < n; ++j) {
      src[j] = pattern[j % period];
      if (!smooth.empty()) smooth_row[j] = smooth[j % period];
    }
    Bytes q(n, 99);
    float scale = -1;
    kernel().quantize_row(
        {src.data(), n, smooth.empty() ? nullptr : smooth_row.data(), q.data(), &scale});
    for (std::int64_t j = period; j < n; ++j) EXPECT_EQ(q[j], q[j - period]) << j;
    q.resize(period);
    return {q, scale};
  }
};

TEST_P(RowsQuantize, QuantizeMatchesReference) {
  for (std::int64_t n : row_lengths()) {
    for (Data data : {Data::kNormal, Data::kWide, Data::kAnyBits}) {
      auto src = random_row(n, data);
      // Any bits are hardly ever without an infinity in a long row.
      if (n % 3 == 0)
        for (U16& value : src)
          if (std::isinf(widen_one(value))) value = narrow_one(NAN);
      std::vector<float> smooth = random_scales(n);
      if (n % 2 == 0)
        for (float& s : smooth)
          if (!(std::abs(s) < 1e4f)) s = 0.3f;
      for (bool smoothed : {false, true}) {
        SCOPED_TRACE("n " + std::to_string(n) + " smoothed " + std::to_string(smoothed));
        Bytes want(n);
        float want_scale = -1;
        QuantizeRow row = {.src = memory_[0].put(src),
                           .n = n,
                           .smooth = smoothed ? memory_[1].put(smooth) : nullptr,
                           .dst = want.data(),
                           .scale = &want_scale};
        reference::quantize_row(type(), row);
        expect_row(want, [&](std::int8_t* dst, Store store) {
          float scale[] = {-1, -1, -1};
          row.dst = dst;
          row.scale = scale + 1;
          row.store = store;
          kernel().quantize_row(row);
          ASSERT_EQ(bits(scale[1]), bits(want_scale)) << scale[1] << " not " << want_scale;
          ASSERT_TRUE(scale[0] == -1 && scale[2] == -1);
        });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(RowsQuantize, QuantizeExamples) {
  auto got = quantized(row_of({1, -0.30078125}));
  EXPECT_EQ(got.q, (Bytes{127, -38}));
  EXPECT_EQ(got.scale, 0.00787401572f);
  got = quantized(row_of({3, 0.5, -2}));
  EXPECT_EQ(got.q, (Bytes{127, 21, -85}));
  EXPECT_EQ(got.scale, 0.0236220472f);
  got = quantized(row_of({3, 0.5, -2}), {1, 2, 0.5});
  EXPECT_EQ(got.q, (Bytes{127, 42, -42}));
  EXPECT_EQ(got.scale, 0.0236220472f);
  got = quantized(row_of({127, 2.5, 3.5, -0.5, -1.5}));
  EXPECT_EQ(got.q, (Bytes{127, 2, 4, 0, -2}));
  EXPECT_EQ(got.scale, 1.0f);
  // Two divisions: one, m / 127, would give 0.0433070883.
  got = quantized(row_of({-5.5, 5.5, 0}));
  EXPECT_EQ(got.q, (Bytes{-127, 127, 0}));
  EXPECT_EQ(bits(got.scale), bits(0.0433070846f));
  // Rounded to float16 first, these would be ties that go to 4 and -4.
  got = quantized(row_of({127, 1, 1}), {1, 3.4999f, -3.4999f});
  EXPECT_EQ(got.q, (Bytes{127, 3, -3}));
}

TEST_P(RowsQuantize, QuantizeSpecialValues) {
  const auto expect = [](const Quantized& got, const Bytes& q, float scale) {
    EXPECT_EQ(got.q, q);
    EXPECT_EQ(bits(got.scale), bits(scale)) << got.scale << " not " << scale;
  };
  expect(quantized(row_of({0, -0.0, 0})), {0, 0, 0}, 0);
  expect(quantized(row_of({NAN, NAN})), {0, 0}, 0);
  expect(quantized(row_of({NAN, 0})), {0, 0}, 0);
  expect(quantized(row_of({NAN, -127, 1})), {0, -127, 1}, 1);
  const double most = type() == DType::kFloat16 ? 65504 : 0x1.fep127;
  expect(quantized(row_of({INFINITY, 1, -INFINITY, NAN, most, -most, 0})),
         {127, 0, -127, 0, 0, 0, 0}, INFINITY);
  expect(quantized(row_of({0, 1, -1, 2}), {INFINITY, 3e38f, -INFINITY, 1}), {0, 0, 127, 0},
         INFINITY);
  // Just below 127 / FLT_MAX 127 / m overflows; just above all is well, the scale being subnormal.
  expect(quantized(row_of({1, -1}), {3.73e-37f, 1e-37f}), {0, 0}, 0);
  expect(quantized(row_of({1, -1}), {3.74e-37f, 1.87e-37f}), {127, -64}, 1 / (127 / 3.74e-37f));
  expect(quantized(row_of({1, -1}), {0x1p-149f, 0}), {0, 0}, 0);
  if (type() == DType::kBFloat16) expect(quantized(row_of({0x1p-133, -0x1p-133})), {0, 0}, 0);
  if (type() == DType::kFloat16)  // subnormal, but far from where floats are
    expect(quantized(row_of({127 * 0x1p-24, -0x1p-24})), {127, -1}, 0x1p-24f);
}

TEST_P(RowsQuantize, EncodeMatchesReference) {
  for (std::int64_t n : row_lengths()) {
    for (Data data : {Data::kNormal, Data::kWide, Data::kAnyBits}) {
      auto src = random_row(n, data);
      for (std::int64_t j = n / 16 * 8; j < n && j < n / 16 * 8 + 8; ++j)
        if (n % 5 == 0) src[j] = narrow_one(j % 3 == 0 ? -0.0 : n % 2 == 0 ? 0 : NAN);
      const std::int64_t groups = (n + 7) / 8;
      Bytes want(n);
      std::vector<U16> want_scale(groups);
      reference::encode_groups_row(type(), {src.data(), n, want.data(), want_scale.data()});
      const auto* at_end = memory_[0].put(src);
      expect_row(want, [&](std::int8_t* dst, Store store) {
        Canaried<U16> scale(groups, store == Store::kPlain ? 0 : 3);
        kernel().encode_groups_row({at_end, n, dst, scale.data()});
        ASSERT_EQ(difference(want_scale.data(), scale.data(), groups), "") << "n " << n;
        ASSERT_TRUE(scale.guards_intact()) << "n " << n;
      });
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RowsQuantize, EncodeExamples) {
  const auto src = row_of({254,       -254, 3,   5,   1,   -1,  0,   NAN,  //
                           0,         -0.0, 0,   0,   0,   0,   0,   0,    //
                           NAN,       NAN,  NAN, NAN, NAN, NAN, NAN, 0,    //
                           -INFINITY, 1,    NAN, 0,   0,   0,   0,   0,    //
                           1,         128,  -64, 2,   3,   4,   5,   6,    //
                           127,       -1,   2.5});
  Bytes q(src.size());
  std::vector<U16> scale(6);
  kernel().encode_groups_row({src.data(), std::ssize(src), q.data(), scale.data()});
  const Bytes want = {127, -127, 2,   2, 0, 0, 0, 0,  //
                      0,   0,    0,   0, 0, 0, 0, 0,  //
                      0,   0,    0,   0, 0, 0, 0, 0,  //
                      0,   0,    0,   0, 0, 0, 0, 0,  //
                      1,   127,  -64, 2, 3, 4, 5, 6,  //
                      127, -1,   2};
  EXPECT_EQ(q, want);
  // 128 / 127 is rounded to T; the division was by what it was before.
  EXPECT_EQ(scale, row_of({2, 0, 0, INFINITY, 1.0078125, 1}));
}

TEST_P(RowsQuantize, DecodeMatchesReference) {
  for (std::int64_t n : row_lengths()) {
    for (Data data : {Data::kNormal, Data::kWide, Data::kAnyBits}) {
      const auto src = random_int8(n);
      const auto scale = random_row((n + 7) / 8, data);
      std::vector<U16> want(n);
      reference::decode_groups_row(type(), {src.data(), scale.data(), n, want.data()});
      const auto* src_at_end = memory_[0].put(src);
      const auto* scale_at_end = memory_[1].put(scale);
      expect_row(want, [&](U16* dst, Store) {
        kernel().decode_groups_row({src_at_end, scale_at_end, n, dst});
      });
      if (HasFatalFailure()) return;
    }
  }
}

// What comes back is at most half a step away, and what each rounding adds.
TEST_P(RowsQuantize, DecodedIsCloseToWhatWasEncoded) {
  constexpr std::int64_t kN = 4096;
  const auto src = random_row(kN, Data::kNormal);
  Bytes q(kN);
  std::vector<U16> scale(kN / 8), back(kN);
  kernel().encode_groups_row({src.data(), kN, q.data(), scale.data()});
  kernel().decode_groups_row({q.data(), scale.data(), kN, back.data()});
  const double u = info(type()).unit_roundoff;
  for (std::int64_t first = 0; first < kN; first += 8) {
    double max = 0;
    for (std::int64_t j = first; j < first + 8; ++j)
      max = std::max(max, std::abs(widen_one(src[j])));
    // v / g through float16: 2^-11 of at most 127; the scale and the product: u of at most max
    // each.
    const double step = max / 127, bound = step / 2 + 127 * 0x1p-11 * step + 2.1 * u * max;
    for (std::int64_t j = first; j < first + 8; ++j)
      ASSERT_LE(std::abs(widen_one(back[j]) - widen_one(src[j])), bound) << "element " << j;
  }
}

TEST_P(RowsQuantize, BlendMatchesReference) {
  for (std::int64_t n : row_lengths()) {
    for (Data data : {Data::kNormal, Data::kWide, Data::kAnyBits}) {
      for (int step : {0, 1}) {
        BlendRow row = {.x = memory_[0].put(random_row(n, data)),
                        .v = memory_[1].put(random_row(n, data)),
                        .alpha_1 = memory_[2].put(random_row(step ? n : 1, data)),
                        .alpha_2 = memory_[3].put(random_row(step ? n : 1, data)),
                        .alpha_step = step,
                        .n = n,
                        .dst = nullptr};
        std::vector<float> want(n);
        row.dst = want.data();
        reference::blend_row(type(), row);
        for (int offset : {0, 1, 15}) {
          Canaried<float> dst(n, offset);
          row.dst = dst.data();
          kernel().blend_row(row);
          for (std::int64_t j = 0; j < n; ++j)
            ASSERT_TRUE(bits(dst.data()[j]) == bits(want[j]) ||
                        (std::isnan(dst.data()[j]) && std::isnan(want[j])))
                << "element " << j << " of " << n << ": " << dst.data()[j] << " not " << want[j];
          ASSERT_TRUE(dst.guards_intact()) << "n " << n;
        }
      }
    }
  }
}

TEST_P(RowsQuantize, BlendExample) {
  const auto x = row_of({1, 2, -3}), v = row_of({4, 0.5, 1});
  const auto one = row_of({0.5, 2, 1}), two = row_of({0.25, -4, 3});
  float dst[3];
  kernel().blend_row({x.data(), v.data(), one.data(), two.data(), 0, 3, dst});
  EXPECT_EQ(std::vector<float>(dst, dst + 3), (std::vector<float>{1.5, 1.125, -1.25}));
  kernel().blend_row({x.data(), v.data(), one.data(), two.data(), 1, 3, dst});
  EXPECT_EQ(std::vector<float>(dst, dst + 3), (std::vector<float>{1.5, 2, 0}));
}

INSTANTIATE_TEST_SUITE_P(Kernels, RowsQuantize,
                         testing::ValuesIn(lines_with(&Kernels::quantize_row)), line_name);

}  // namespace
}  // namespace weft::rows
