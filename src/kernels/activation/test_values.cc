// SPDX-License-Identifier: Apache-2.0
// Numbers: exp over all floats, special values, every tie of the roundings, the int8 conversion.
#include "kernels/activation/test_support.h"

namespace weft::activation {
namespace {

class ActivationValues : public ActivationTest {
 protected:
  // What a form makes of each a, without a function in between: a = h · relu(1).
  std::vector<double> converted(Form form, const std::vector<float>& a, float quant_scale = 1,
                                float quant_offset = 0) {
    const std::vector<float> float_ones(a.size(), 1.0f);
    const std::vector<std::int32_t> ones(a.size(), 1);
    const auto n = static_cast<int>(a.size());
    std::vector<U16> dst(a.size());
    ActivateTile tile = {.m = 1, .n = n, .acc = a.data(), .gate = float_ones.data()};
    if (to_int8(form)) {
      tile.acc = tile.gate = ones.data();
      tile.scale = a.data();
      tile.gate_scale = float_ones.data();
      tile.quant_scale = &quant_scale;
      tile.quant_offset = quant_offset;
    }
    tile.dst = dst.data();
    kernel().tile(form, Function::kRelu, true)(tile);
    std::vector<double> values(a.size());
    for (int j = 0; j < n; ++j) values[j] = stored(form, dst.data(), j);
    return values;
  }

  // f(v) through the form with the widest range.
  double activated(Function function, float v) {
    U16 dst = 0;
    kernel().tile(Form::kBFloat16, function, false)({.m = 1, .n = 1, .acc = &v, .dst = &dst});
    return bf16_to_f32(dst);
  }
};

float next_bits(float x, int steps) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + steps);
}

// Every value of 16 bits, the midpoint of it and the next one, and what lies just beside both.
template <class Widen>
std::vector<float> around_all(const Widen& widen) {
  std::vector<float> all;
  for (int i = 0; i < 65535; ++i) {
    const float value = widen(static_cast<U16>(i)), next = widen(static_cast<U16>(i + 1));
    for (float x : {value, value / 2 + next / 2})
      for (int beside : {-1, 0, 1}) all.push_back(next_bits(x, beside));
  }
  for (float x : {65519.996f, 65520.0f, 65536.0f, 1e10f, 3e38f, 0x1.fefffep127f, 0x1.ffp127f,
                  INFINITY, NAN, 0x1p-149f, 0x1p-25f, 0x1.8p-25f, 0x1p-134f})
    for (float y : {x, -x}) all.push_back(y);
  return all;
}

void expect_equal(double got, double want, float from) {
  if (std::isnan(want)) {
    ASSERT_TRUE(std::isnan(got)) << got << " from " << std::hexfloat << from;
  } else {
    ASSERT_EQ(got, want) << "from " << std::hexfloat << from;
    ASSERT_EQ(std::signbit(got), std::signbit(want)) << "from " << std::hexfloat << from;
  }
}

// The sign and the neighbours of every tie are known from the bits alone.
TEST_P(ActivationValues, TiesGoAwayFromZero) {
  std::vector<float> ties;
  std::vector<double> away;
  for (int i = 0; i < 0x7bff; ++i)
    for (int sign : {1, -1}) {
      const double next = fp16_to_f32(static_cast<U16>(i + 1));
      ties.push_back(static_cast<float>(sign * (fp16_to_f32(static_cast<U16>(i)) + next) / 2));
      away.push_back(sign * next);
    }
  EXPECT_EQ(converted(Form::kFloat16, ties), away);
  ties.clear();
  away.clear();
  for (std::uint32_t i = 0; i < 0x7f80; ++i)
    for (std::uint32_t sign : {0x0u, 0x80000000u}) {
      ties.push_back(std::bit_cast<float>(sign | i << 16 | 0x8000));
      away.push_back(std::bit_cast<float>(sign | (i + 1) << 16));
    }
  EXPECT_EQ(converted(Form::kBFloat16, ties), away);
}

TEST_P(ActivationValues, EveryRounding) {
  const auto halves = around_all(fp16_to_f32), bfloats = around_all(bf16_to_f32);
  auto got = converted(Form::kFloat16, halves);
  for (std::size_t j = 0; j < halves.size(); ++j)
    expect_equal(got[j], reference::round_half_away(DType::kFloat16, halves[j]), halves[j]);
  got = converted(Form::kBFloat16, bfloats);
  for (std::size_t j = 0; j < bfloats.size(); ++j)
    expect_equal(got[j], reference::round_half_away(DType::kBFloat16, bfloats[j]), bfloats[j]);
  got = converted(Form::kFloat16Steps, halves);
  for (std::size_t j = 0; j < halves.size(); ++j)
    expect_equal(got[j], fp16_to_f32(f64_to_fp16(halves[j])), halves[j]);
}

TEST_P(ActivationValues, EveryQuantisation) {
  const auto halves = around_all(fp16_to_f32);
  constexpr std::pair<float, float> kQuant[] = {{1.0f, 0.0f},       {0.5f, 0.5f},
                                                {-3.0f, 1000.0f},   {0x1p-24f, -127.9375f},
                                                {0.0f, -127.9375f}, {0.0999755859375f, 0.5f}};
  for (const auto& [scale, offset] : kQuant)
    for (const Form form : {Form::kInt8, Form::kInt8Steps}) {
      const auto got = converted(form, halves, scale, offset);
      for (std::size_t j = 0; j < halves.size(); ++j) {
        const float h = summand(form, 1, halves[j]);
        ASSERT_EQ(got[j], reference::quantise(h, scale, offset))
            << std::hexfloat << halves[j] << " scale " << scale << " offset " << offset;
      }
    }
}

TEST_P(ActivationValues, QuantisedGoldenValues) {
  const auto q = [&](float a, float scale = 1, float offset = 0) {
    return converted(Form::kInt8, {a}, scale, offset)[0];
  };
  EXPECT_EQ(q(0.5f), 0);
  EXPECT_EQ(q(1.5f), 2);
  EXPECT_EQ(q(2.5f), 2);
  EXPECT_EQ(q(-0.5f), 0);
  EXPECT_EQ(q(-1.5f), -2);
  EXPECT_EQ(q(126.5f), 126);
  EXPECT_EQ(q(127.5f), 127);
  EXPECT_EQ(q(-128.5f), -128);
  EXPECT_EQ(q(1e6f), 127);
  EXPECT_EQ(q(-1e6f), -128);
  EXPECT_EQ(q(INFINITY), 127);
  EXPECT_EQ(q(-INFINITY), -128);
  EXPECT_EQ(q(NAN), 0);
  EXPECT_EQ(q(INFINITY, 0), 0);                // inf · 0 is nan
  EXPECT_EQ(q(2049, 1, -2048), 0);             // a is rounded: 2048
  EXPECT_EQ(q(1025, 0.5009765625f, -513), 0);  // 513.5 and a little is rounded: 513.5, and -513
  EXPECT_EQ(q(0.04f, 1, 101.4375f), 102);      // the sum is rounded: 101.4775 to 101.5
  EXPECT_EQ(q(60000, 2, -60000), 127);         // the product overflows
}

TEST_P(ActivationValues, SpecialValues) {
  for (const Function function : {Function::kSilu, Function::kFastGelu, Function::kGelu}) {
    EXPECT_TRUE(std::isnan(activated(function, NAN)));
    EXPECT_TRUE(std::isnan(activated(function, -INFINITY)));
    EXPECT_EQ(activated(function, INFINITY), INFINITY);
    EXPECT_EQ(activated(function, 0x1p127f), 0x1p127);
    for (const float least : {-0.0f, -100.0f, -1e20f, -3e38f}) {
      EXPECT_EQ(activated(function, least), 0);
      EXPECT_TRUE(std::signbit(activated(function, least)));
    }
    EXPECT_FALSE(std::signbit(activated(function, 0.0f)));
    EXPECT_EQ(activated(function, 0x1p-100f), 0x1p-101);
  }
  EXPECT_TRUE(std::isnan(activated(Function::kRelu, NAN)));
  EXPECT_EQ(activated(Function::kRelu, INFINITY), INFINITY);
  EXPECT_EQ(activated(Function::kRelu, -INFINITY), 0);
  EXPECT_EQ(activated(Function::kRelu, -1.0f), 0);
  EXPECT_EQ(activated(Function::kRelu, 3.0f), 3);
  for (const Form form : {Form::kFloat16, Form::kFloat16Steps})
    for (const Function function : kAllFunctions) {
      const float large = 1e6f;
      U16 dst = 0;
      kernel().tile(form, function, false)({.m = 1, .n = 1, .acc = &large, .dst = &dst});
      EXPECT_EQ(dst, 0x7c00) << "overflow gives infinity";
    }
}

// In blocks, so that exp is a loop over many.
TEST_P(ActivationValues, ExpWithinItsUlps) {
  std::vector<float> x, got(4096), by_scalar(4096);
  double worst = 0;
  const auto check = [&] {
    const auto n = std::ssize(x);
    kernel().exp(x.data(), got.data(), n);
    scalar().exp(x.data(), by_scalar.data(), n);
    ASSERT_EQ(std::memcmp(got.data(), by_scalar.data(), n * sizeof(float)), 0);
    for (int i = 0; i < n; ++i) {
      const double want = std::exp(double{x[i]});
      if (want >= 0x1.ffffffp127) {  // from here on the nearest float is inf
        ASSERT_EQ(got[i], INFINITY) << std::hexfloat << x[i];
        continue;
      }
      const double last_place = std::ldexp(1.0, std::max(std::ilogb(want), -126) - 23);
      const double ulps = std::fabs(got[i] - want) / last_place;
      ASSERT_LE(ulps, kExpUlps) << std::hexfloat << x[i];
      if (want >= 0x1p-126) worst = std::max(worst, ulps);
    }
    x.clear();
  };
  constexpr std::uint32_t kStep = 509;  // every 509th float
  const auto last = std::bit_cast<std::uint32_t>(110.0f);
  for (std::uint32_t sign : {0x0u, 0x80000000u})
    for (std::uint32_t bits = 0; bits <= last; bits += kStep) {
      x.push_back(std::bit_cast<float>(sign | bits));
      if (x.size() == got.size()) check();
      if (HasFatalFailure()) return;
    }
  check();
  RecordProperty("worst_ulps_in_1000", static_cast<int>(worst * 1000));
  EXPECT_GT(worst, 0.5);  // else this does not measure what it should
}

TEST_P(ActivationValues, ExpSpecialValues) {
  const std::vector<float> x = {INFINITY, -INFINITY, NAN,  0.0f,     -0.0f,      3e38f,
                                -3e38f,   -104.0f,   1e5f, 88.7228f, 88.722839f, 0x1p-149f};
  std::vector<float> y(x.size());
  kernel().exp(x.data(), y.data(), std::ssize(x));
  EXPECT_TRUE(std::isnan(y[2]));
  y[2] = 0;
  const float e = y[9];
  EXPECT_EQ(y, (std::vector<float>{INFINITY, 0, 0, 1, 1, INFINITY, 0, 0, INFINITY, e, y[10], 1}));
  EXPECT_LT(e, INFINITY);
  for (int n = 1; n <= 70; ++n) {  // nothing beyond n is written
    const std::vector<float> zeros(n);
    Canaried<float> dst(n, n % 5);
    kernel().exp(zeros.data(), dst.data(), n);
    EXPECT_TRUE(dst.guards_intact());
    EXPECT_EQ(std::vector<float>(dst.data(), dst.data() + n), std::vector<float>(n, 1.0f));
  }
}

// Every value of a half, through the form that rounds the sum to one.
TEST_P(ActivationValues, EveryHalf) {
  std::vector<float> v;
  for (int i = 0; i < 65536; ++i) v.push_back(fp16_to_f32(static_cast<U16>(i)));
  std::vector<U16> dst(v.size());
  for (const Function function : kAllFunctions) {
    kernel().tile(Form::kFloat16Steps, function,
                  false)({.m = 1, .n = 65536, .acc = v.data(), .dst = dst.data()});
    for (int i = 0; i < 65536; ++i) {
      if (!std::isfinite(v[i])) continue;
      const Range range = range_of(Form::kFloat16Steps, Exact(function, v[i]), 0, 0);
      const double got = fp16_to_f32(dst[i]);
      ASSERT_TRUE(range.least <= got && got <= range.greatest)
          << v[i] << ": " << got << " is not in " << range.least << " .. " << range.greatest;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, ActivationValues, all_lines(), line_name);

TEST(ActivationReference, SlopesAreBelowTheirBound) {
  for (const Function function : kAllFunctions) {
    double steepest = 0;
    constexpr double kStep = 0x1p-10;
    for (double v = -12; v <= 12; v += kStep)
      steepest = std::max(
          steepest,
          std::fabs(reference::value(function, v + kStep) - reference::value(function, v)) / kStep);
    EXPECT_LE(steepest, reference::slope_bound(function));
    EXPECT_GT(steepest, 0.9999 * reference::slope_bound(function));
  }
}

}  // namespace
}  // namespace weft::activation
