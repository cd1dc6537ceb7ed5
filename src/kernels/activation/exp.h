// SPDX-License-Identifier: Apache-2.0
// exp over the vector wrappers of the rows family. Included by files for one instruction set only,
// also those of other families; everything is in an anonymous namespace (generic.h says why).
//
// To what rows asks of V (kernels/rows/generic.h) it adds, on F
//   fma            without a call into a library
//   larger(a, b), smaller(a, b)   a > b ? a : b and a < b ? a : b, so b if either is nan
//   negative(a)
//   scaled(p, n)   p · 2^n rounded once, n whole; p is 0.7 to 1.5, n -151 to 129, or both are nan
#pragma once

namespace weft::activation {
namespace {

// x = n · ln 2 + r with |r| <= ln 2 / 2, exp(x) = 2^n · (1 + r + r² · (c2 + c3 · r + ... c6 · r⁴)).
//
// n comes from an addition whose sum has 1 as its last place. n · kLn2 is exact within the
// multiply-add, and so is its sum: a multiple of the last place of x or of 2^-24, and below 0.35.
// So r has one rounding error, of at most 2^-26: 0.18 ulp of the result where it weighs most, at
// r = -0.35. The polynomial is the minimax one for the relative error, 3.1e-9 or 0.05 ulp; its last
// three steps round by 0.03, 0.17 and 0.5 ulp. Together 0.93; among all floats the worst has 0.892.
constexpr float kLeast = -104.0f;  // exp is below half of the least subnormal
constexpr float kMost = 89.0f;     // exp overflows
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kShifter = 0x1.8p+23f;
constexpr float kLn2 = 0x1.62e43p-1f, kLn2Rest = -0x1.05c61p-29f;
constexpr float kC2 = 0x1.fffffcp-2f, kC3 = 0x1.555492p-3f, kC4 = 0x1.5558f2p-5f,
                kC5 = 0x1.123a2p-7f, kC6 = 0x1.6a23ep-10f;

// x[i] = f(x[i]). Everything below goes through several registers step by step, so that their long
// chains of steps are worked on together: the CPU's queues hold few chains at a time.
template <class F, int kCount, class Fn>
inline void each(F (&x)[kCount], const Fn& fn) {
  for (int i = 0; i < kCount; ++i) x[i] = fn(i);
}

template <class V, int kCount>
inline void exp(typename V::F (&x)[kCount]) {
  const auto c = [](float f) { return V::broadcast(f); };
  typename V::F n[kCount], p[kCount];
  each(x, [&](int i) { return V::smaller(c(kMost), x[i]); });  // nan stays
  each(x, [&](int i) { return V::larger(c(kLeast), x[i]); });
  each(n, [&](int i) { return V::fma(x[i], c(kLog2E), c(kShifter)); });
  each(n, [&](int i) { return V::add(n[i], c(-kShifter)); });
  each(x, [&](int i) { return V::fma(n[i], c(-kLn2), x[i]); });
  each(x, [&](int i) { return V::fma(n[i], c(-kLn2Rest), x[i]); });
  each(p, [&](int i) { return V::fma(x[i], c(kC6), c(kC5)); });
  each(p, [&](int i) { return V::fma(x[i], p[i], c(kC4)); });
  each(p, [&](int i) { return V::fma(x[i], p[i], c(kC3)); });
  each(p, [&](int i) { return V::fma(x[i], p[i], c(kC2)); });
  each(p, [&](int i) { return V::fma(x[i], p[i], c(1.0f)); });
  each(p, [&](int i) { return V::fma(x[i], p[i], c(1.0f)); });
  each(x, [&](int i) { return V::scaled(p[i], n[i]); });
}

}  // namespace
}  // namespace weft::activation
