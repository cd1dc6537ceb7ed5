// SPDX-License-Identifier: Apache-2.0
// What exp.h asks of plain floats, beside what the rows family has. Included by scalar files alone.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/rows/scalar.h"

namespace weft::activation {
namespace {

template <class Rows>
struct Scalar : Rows {
  using F = float;
  static F negative(F a) { return -a; }
  // The product is exact in double. The sum is rounded to odd: of the two doubles around the exact
  // sum the one with an odd last place. It is never a tie of floats unless the exact sum is one, so
  // rounding it to float gives what rounding once would. Without FMA fmaf() is much slower.
  static F fma(F a, F b, F c) {
    const double product = static_cast<double>(a) * b;
    const double sum = product + c;
    const double added = sum - product;
    const double lost = (product - (sum - added)) + (c - added);  // exact sum = sum + lost
    const auto bits = std::bit_cast<std::int64_t>(sum);
    const std::int64_t inexact = static_cast<std::int64_t>(lost > 0) | (lost < 0);  // not if nan
    const std::int64_t outwards = (lost > 0) == (sum > 0);
    const std::int64_t step = inexact & ~bits & 1;
    return static_cast<float>(std::bit_cast<double>(bits + step * (2 * outwards - 1)));
  }
  static F larger(F a, F b) { return a > b ? a : b; }
  static F smaller(F a, F b) { return a < b ? a : b; }
  // By 2^(n / 2), which is exact, and by 2^(n - n / 2). The last place of the sum is 1, so its
  // lowest bits are n.
  static F scaled(F p, F n) {
    const auto all = std::bit_cast<std::int32_t>(n + 0x1.8p23f) - 0x4b400000;
    const std::int32_t part = all >> 1, rest = all - part;
    return p * two_to(part) * two_to(rest);
  }
  static F two_to(std::int32_t n) {
    return std::bit_cast<float>((static_cast<std::uint32_t>(n) + 127) << 23);
  }
};

}  // namespace
}  // namespace weft::activation
