// SPDX-License-Identifier: Apache-2.0
// What the tests of the activation family share: the lines of kernels.inc as parameters, and what
// an element must become.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "base/float16.h"
#include "kernels/activation/activation.h"
#include "kernels/activation/reference.h"
#include "kernels/rows/test_memory.h"

namespace weft::activation {

using U16 = std::uint16_t;
using rows::Canaried;
using rows::EndOfMemory;

constexpr Form kAllForms[] = {Form::kFloat16Steps, Form::kFloat16, Form::kBFloat16,
                              Form::kInt8Steps, Form::kInt8};
constexpr Function kAllFunctions[] = {Function::kFastGelu, Function::kGelu, Function::kRelu,
                                      Function::kSilu};
static_assert(std::size(kAllForms) == kForms && std::size(kAllFunctions) == kFunctions);

inline bool to_int8(Form form) { return form == Form::kInt8Steps || form == Form::kInt8; }
inline bool in_steps(Form form) { return form == Form::kFloat16Steps || form == Form::kInt8Steps; }
inline int bytes_of(Form form) { return to_int8(form) ? 1 : 2; }

/// An element of dst as a number.
inline double stored(Form form, const void* dst, std::int64_t at) {
  if (to_int8(form)) return static_cast<const std::int8_t*>(dst)[at];
  const U16 bits = static_cast<const U16*>(dst)[at];
  return form == Form::kBFloat16 ? bf16_to_f32(bits) : fp16_to_f32(bits);
}

/// h or g of a sum; `scale` counts for the int8 forms alone.
inline float summand(Form form, double acc, float scale) {
  auto h = static_cast<float>(acc);  // s32: rounded as the conversion does
  if (to_int8(form)) h *= scale;
  return in_steps(form) ? fp16_to_f32(f32_to_fp16(h)) : h;
}

/// a as it would be without rounding, and a bound of its error.
struct Exact {
  double value, error;
  Exact(Function function, float h) : value(reference::value(function, h)) {
    error = reference::error(function, h);
  }
  Exact(Function function, float h, float gate) : Exact(function, gate) {
    value *= h;
    error *= std::fabs(h);
    error += (std::fabs(value) + error) * 0x1p-24 + 0x1p-150;
  }
};

/// The least and the greatest element that a may become: its form rounds what lies within the
/// error of the exact value, and rounding is monotone.
struct Range {
  double least, greatest;
};
inline Range range_of(Form form, Exact a, float quant_scale, float quant_offset) {
  const auto convert = [&](double x) -> double {
    if (form == Form::kFloat16Steps) return fp16_to_f32(f64_to_fp16(x));
    if (form == Form::kFloat16) return reference::round_half_away(DType::kFloat16, x);
    if (form == Form::kBFloat16) return reference::round_half_away(DType::kBFloat16, x);
    return reference::quantise(static_cast<float>(x), quant_scale, quant_offset);
  };
  double below = a.value - a.error, above = a.value + a.error;
  if (to_int8(form)) {  // to the floats around them
    below = std::nextafter(static_cast<float>(below), -INFINITY);
    above = std::nextafter(static_cast<float>(above), INFINITY);
  }
  const double x = convert(below), y = convert(above);
  return {std::min(x, y), std::max(x, y)};
}

class ActivationTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel().isa && !row.available) GTEST_SKIP() << row.reason;
  }
  static const Kernels& scalar() { return kernels().back(); }
  const Kernels& kernel() const { return kernels()[GetParam()]; }

  double normal(double deviation) { return std::normal_distribution<double>(0, deviation)(rng_); }
  float any_bits() {
    const auto bits = static_cast<std::uint32_t>(rng_());
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

  // --gtest_shuffle with --gtest_random_seed gives other data.
  const int seed_ = testing::UnitTest::GetInstance()->random_seed();
  std::mt19937 rng_{static_cast<unsigned>(seed_)};
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
};

inline auto all_lines() { return testing::Range(0, static_cast<int>(std::ssize(kernels()))); }
inline std::string line_name(const testing::TestParamInfo<int>& info) {
  return std::string(kernels()[info.param].name);
}

}  // namespace weft::activation
