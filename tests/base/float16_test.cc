// SPDX-License-Identifier: Apache-2.0
#include "base/float16.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace weft {
namespace {

// A 16-bit format as the standard defines it: the value of every code, by exact scaling. Rounding
// is a search in the sorted list of values, so it shares nothing with the code under test.
class Format {
 public:
  Format(int exponent_bits, int mantissa_bits)
      : mantissa_bits_(mantissa_bits),
        bias_((1 << (exponent_bits - 1)) - 1),
        infinity_(static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits)) {
    // The value infinity's code would have, were it finite, is where rounding up leads to.
    for (int code = 0; code <= infinity_; ++code) values_.push_back(value_of(code));
  }
  std::uint16_t infinity() const { return infinity_; }
  double value(std::uint16_t code) const { return values_[code]; }  ///< of a code without sign
  double midpoint_after(std::uint16_t code) const {
    return (values_[code] + values_[code + 1]) / 2;
  }

  std::uint16_t round(double d) const {
    const std::uint16_t sign = std::signbit(d) ? 0x8000 : 0;
    const double magnitude = std::fabs(d);
    if (magnitude >= values_.back()) return sign | infinity_;
    const auto above = std::upper_bound(values_.begin(), values_.end(), magnitude);
    const auto low = static_cast<std::uint16_t>(above - values_.begin() - 1);
    const double middle = midpoint_after(low);
    const bool up = magnitude > middle || (magnitude == middle && (low & 1));
    return sign | static_cast<std::uint16_t>(low + up);
  }

 private:
  double value_of(int code) const {
    const int exponent = code >> mantissa_bits_, mantissa = code & ((1 << mantissa_bits_) - 1);
    if (exponent == 0) return std::ldexp(mantissa, 1 - bias_ - mantissa_bits_);
    return std::ldexp(mantissa + (1 << mantissa_bits_), exponent - bias_ - mantissa_bits_);
  }
  int mantissa_bits_, bias_;
  std::uint16_t infinity_;
  std::vector<double> values_;
};

const Format& fp16() {
  static const Format format(5, 10);
  return format;
}
const Format& bf16() {
  static const Format format(8, 7);
  return format;
}

// Every value, every tie, both neighbours of every tie, and values over the whole range.
template <typename Float>
std::vector<Float> interesting(const Format& format) {
  std::vector<Float> list = {0, std::numeric_limits<Float>::infinity(),
                             std::numeric_limits<Float>::max(), std::numeric_limits<Float>::min(),
                             std::numeric_limits<Float>::denorm_min()};
  for (std::uint16_t code = 0; code < format.infinity(); ++code) {
    const auto tie = static_cast<Float>(format.midpoint_after(code));
    list.push_back(static_cast<Float>(format.value(code)));
    list.push_back(tie);
    list.push_back(std::nextafter(tie, std::numeric_limits<Float>::infinity()));
    list.push_back(std::nextafter(tie, Float{0}));
  }
  std::mt19937_64 random(20240611);
  std::uniform_real_distribution<double> exponent(-150, 130), mantissa(1, 2);
  for (int i = 0; i < 200000; ++i)
    list.push_back(static_cast<Float>(std::ldexp(mantissa(random), int(exponent(random)))));
  return list;
}

template <typename Float, typename Convert>
void expect_rounds_like(const Format& format, Convert convert) {
  for (const Float value : interesting<Float>(format))
    for (const Float signed_value : {value, -value})
      ASSERT_EQ(convert(signed_value), format.round(signed_value)) << std::hexfloat << signed_value;
}

TEST(Float16, F64ToFp16RoundsOnce) { expect_rounds_like<double>(fp16(), f64_to_fp16); }
TEST(Float16, F64ToBf16RoundsOnce) { expect_rounds_like<double>(bf16(), f64_to_bf16); }
TEST(Float16, F32ToFp16RoundsOnce) { expect_rounds_like<float>(fp16(), f32_to_fp16); }
TEST(Float16, F32ToBf16RoundsOnce) { expect_rounds_like<float>(bf16(), f32_to_bf16); }

TEST(Float16, EveryCodeWidensExactlyAndComesBack) {
  for (int code = 0; code <= 0xffff; ++code) {
    const auto bits = static_cast<std::uint16_t>(code),
               magnitude = static_cast<std::uint16_t>(code & 0x7fff);
    const bool negative = code & 0x8000;
    if (magnitude <= fp16().infinity()) {
      const float wide = fp16_to_f32(bits);
      const double expected = magnitude == fp16().infinity() ? HUGE_VAL : fp16().value(magnitude);
      ASSERT_EQ(wide, negative ? -expected : expected) << std::hex << code;
      ASSERT_EQ(std::signbit(wide), negative) << std::hex << code;
      ASSERT_EQ(f32_to_fp16(wide), bits) << std::hex << code;
    } else {
      ASSERT_TRUE(std::isnan(fp16_to_f32(bits))) << std::hex << code;
    }
    if (magnitude <= bf16().infinity()) {
      const float wide = bf16_to_f32(bits);
      const double expected = magnitude == bf16().infinity() ? HUGE_VAL : bf16().value(magnitude);
      ASSERT_EQ(wide, negative ? -expected : expected) << std::hex << code;
      ASSERT_EQ(std::signbit(wide), negative) << std::hex << code;
      ASSERT_EQ(f32_to_bf16(wide), bits) << std::hex << code;
    } else {
      ASSERT_TRUE(std::isnan(bf16_to_f32(bits))) << std::hex << code;
    }
  }
}

TEST(Float16, NanStaysNan) {
  // Payloads in the low bits only: cutting them off would make infinity.
  for (const std::uint32_t bits :
       {0x7f800001u, 0xff800001u, 0x7fc00000u, 0x7fffffffu, 0xffffffffu}) {
    const auto nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(fp16_to_f32(f32_to_fp16(nan)))) << std::hex << bits;
    EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(nan)))) << std::hex << bits;
  }
  EXPECT_TRUE(std::isnan(fp16_to_f32(f64_to_fp16(std::nan("1")))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f64_to_bf16(std::nan("1")))));
}

}  // namespace
}  // namespace weft
