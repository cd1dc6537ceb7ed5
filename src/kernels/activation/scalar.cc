// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/scalar.h"

#define WEFT_ACTIVATION_FLATTEN  // 400 KiB for nothing here
#include "kernels/activation/generic.h"

namespace weft::activation {
namespace {

template <class T>
struct Scalar : rows::Scalar<T> {
  using typename rows::Scalar<T>::F;
  using typename rows::Scalar<T>::Line;
  using typename rows::Scalar<T>::Packed;

  static constexpr int kLinesAtOnce = 1;
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
  static Packed pack_away(const Line& x) {
    Packed r;
    for (int i = 0; i < Scalar::kRegs; ++i) r.v[i] = narrow_away(x.v[i], T{});
    return r;
  }

 private:
  // A tie has zeros below the half of the last place: with a one there it is no tie, and nothing
  // else changes, except that infinity would be nan.
  static U16 narrow_away(float f, rows::Fp16Bits) {
    const auto bits = std::bit_cast<std::uint32_t>(f);
    const std::uint32_t finite = (bits & 0x7fffffffu) != 0x7f800000u;
    return rows::Fp16Bits::narrow(std::bit_cast<float>(bits | finite));
  }
  static U16 narrow_away(float f, rows::Bf16Bits) {
    const auto bits = std::bit_cast<std::uint32_t>(f);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return static_cast<U16>((nan ? bits | 0x400000u : bits + 0x8000u) >> 16);
  }
};

}  // namespace

WEFT_ACTIVATION_DEFINE(scalar, Scalar<rows::Fp16Bits>, Scalar<rows::Bf16Bits>)

}  // namespace weft::activation
