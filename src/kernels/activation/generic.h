// SPDX-License-Identifier: Apache-2.0
// The activation algorithms, once, over vector wrappers V: those of the rows family
// (kernels/rows/generic.h), where lines are explained, in the order of the elements. Included by
// exactly one file per instruction set; everything is in an anonymous namespace, so that code
// compiled for one instruction set can never be linked into the path of another.
//
// To what rows asks of V the files here add
//   fma            without a call into a library
//   larger(a, b), smaller(a, b)   on F: a > b ? a : b and a < b ? a : b, so b if either is nan
//   negative(a)    on F
//   scaled(p, n)   p · 2^n rounded once, n whole; p is 0.7 to 1.5, n -151 to 129, or both are nan
//   pack_away(line)   pack, but ties go away from zero
//   kLinesAtOnce   how many lines keep the units busy
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/rows/generic.h"

namespace weft::activation {
namespace {

using rows::Whole;
using U16 = rows::U16;

// x = n · ln 2 + r with |r| <= ln 2 / 2, exp(x) = 2^n · (1 + r + r² · (c2 + c3 · r + ... c6 · r⁴)).
//
// n comes from an addition whose sum has 1 as its last place. n · kLn2 is exact within the
// multiply-add, and so is its sum: a multiple of the last place of x or of 2^-24 below 0.35. So r
// has one rounding error, of at most 2^-26: 0.19 ulp of the result where it weighs most, at r =
// -0.35. The polynomial is the minimax one for the relative error, 3.1e-9 or 0.05 ulp; its last two
// steps round by 0.17 and 0.5 ulp. Together 0.91; a sweep of all floats found NNN.
constexpr float kLeast = -104.0f;  // exp is below half of the least subnormal
constexpr float kMost = 89.0f;     // exp overflows
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kShifter = 0x1.8p+23f;
constexpr float kLn2 = 0x1.62e43p-1f, kLn2Rest = -0x1.05c61p-29f;
constexpr float kC2 = 0x1.fffffcp-2f, kC3 = 0x1.555492p-3f, kC4 = 0x1.5558f2p-5f,
                kC5 = 0x1.123a2p-7f, kC6 = 0x1.6a23ep-10f;

// x[i] = f(x[i]). Everything below goes through several registers step by step, so that their long
// chains of steps are worked on together: left to the CPU's queues, which hold few chains at a
// time, a tile takes NNN times as long.
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

// 2 · sqrt(2 / pi) and its product with 0.044715, negative like 1.702: the argument is that of exp.
constexpr float kGelu1 = -0x1.988454p+0f, kGelu3 = -0x1.2444f2p-4f, kFastGelu = -0x1.b3b646p+0f;

template <class V, Function kFunction, int kCount>
inline void activate(typename V::F (&v)[kCount]) {
  const auto c = [](float f) { return V::broadcast(f); };
  if constexpr (kFunction == Function::kRelu) {
    each(v, [&](int i) { return V::larger(c(0.0f), v[i]); });
  } else {
    typename V::F x[kCount];
    if constexpr (kFunction == Function::kSilu) {
      each(x, [&](int i) { return V::negative(v[i]); });
    } else if constexpr (kFunction == Function::kFastGelu) {
      each(x, [&](int i) { return V::mul(v[i], c(kFastGelu)); });
    } else {
      each(x, [&](int i) { return V::mul(v[i], v[i]); });
      each(x, [&](int i) { return V::fma(x[i], c(kGelu3), c(kGelu1)); });
      each(x, [&](int i) { return V::mul(v[i], x[i]); });
    }
    exp<V>(x);
    each(x, [&](int i) { return V::add(c(1.0f), x[i]); });
    each(v, [&](int i) { return V::div(v[i], x[i]); });
  }
}

constexpr bool to_int8(Form form) { return form == Form::kInt8Steps || form == Form::kInt8; }
constexpr bool in_steps(Form form) {
  return form == Form::kFloat16Steps || form == Form::kInt8Steps;
}

// h or g of kLines lines of a piece of a row, a piece being what lies in one panel: from j on,
// which is element `column` of the row.
template <class V, Form kForm, int kLines, class Count>
inline void load(const char* acc, const float* scale, std::int64_t j, std::int64_t column,
                 Count count, typename V::F (&h)[kLines * V::kRegs]) {
  const auto* p = static_cast<const void*>(acc);
  for (int line = 0; line < kLines; ++line, j += rows::kLine, column += rows::kLine) {
    typename V::Line x;
    if constexpr (to_int8(kForm))
      x = rows::mul<V>(V::load_s32(static_cast<const std::int32_t*>(p) + j, count),
                       V::load_f32(scale + column, count));
    else
      x = V::load_f32(static_cast<const float*>(p) + j, count);
    if constexpr (in_steps(kForm)) x = V::unpack(V::pack(x));
    for (int i = 0; i < V::kRegs; ++i) h[line * V::kRegs + i] = x.v[i];
  }
}

// fp32 holds the product of two values of fp16, and rounds their sum so that rounding it again to
// fp16 changes nothing (24 >= 2 · 11 + 2 bits).
template <class V, class Count>
inline auto quantised(const typename V::Line& a, const ActivateTile& tile, std::int64_t column,
                      Count count) {
  auto x = V::unpack(V::pack(a));
  x = tile.quant_step != 0 ? rows::mul<V>(x, V::load_f32(tile.quant_scale + column, count))
                           : rows::mul<V>(x, V::broadcast(*tile.quant_scale));
  x = V::unpack(V::pack(x));
  for (auto& v : x.v) v = V::add(v, V::broadcast(tile.quant_offset));
  return V::to_bytes(x);
}

// The piece of a row whose first element is `first` of the row.
struct Piece {
  const char* acc;
  const char* gate;
  int first;
};

template <class V, Form kForm, Function kFunction, bool kGated, int kLines, class Count>
inline void activate_lines(const ActivateTile& t, const Piece& piece, char* dst, std::int64_t j,
                           Count count) {
  typename V::F a[kLines * V::kRegs];
  const std::int64_t column = piece.first + j;
  if constexpr (kGated) {
    typename V::F h[kLines * V::kRegs];
    load<V, kForm, kLines>(piece.gate, t.gate_scale, j, column, count, a);
    activate<V, kFunction>(a);
    load<V, kForm, kLines>(piece.acc, t.scale, j, column, count, h);
    each(a, [&](int i) { return V::mul(h[i], a[i]); });
  } else {
    load<V, kForm, kLines>(piece.acc, t.scale, j, column, count, a);
    activate<V, kFunction>(a);
  }
  for (int line = 0; line < kLines; ++line) {
    const std::int64_t at = column + line * rows::kLine;
    typename V::Line x;
    for (int i = 0; i < V::kRegs; ++i) x.v[i] = a[line * V::kRegs + i];
    if constexpr (to_int8(kForm))
      V::store(rows::row_of<std::int8_t>(dst, 0, 0) + at, quantised<V>(x, t, at, count), count);
    else if constexpr (in_steps(kForm))
      V::store(rows::row_of<U16>(dst, 0, 0) + at, V::pack(x), count);
    else
      V::store(rows::row_of<U16>(dst, 0, 0) + at, V::pack_away(x), count);
  }
}

// The tile comes by value, because no store can change a copy.
template <class V, Form kForm, Function kFunction, bool kGated>
inline void activate_rows(const ActivateTile t) {
  const int panel = t.panel_columns != 0 ? t.panel_columns : t.n;
  for (int i = 0; i < t.m; ++i) {
    Piece piece = {rows::row_of<char>(t.acc, t.acc_stride_bytes, i),
                   kGated ? rows::row_of<char>(t.gate, t.acc_stride_bytes, i) : nullptr, 0};
    char* dst = rows::row_of<char>(t.dst, t.dst_stride_bytes, i);
    for (; piece.first < t.n; piece.first += panel) {
      const std::int64_t n = t.n - piece.first < panel ? t.n - piece.first : panel;
      constexpr int kLines = V::kLinesAtOnce;
      std::int64_t j = 0;
      for (; j + kLines * rows::kLine <= n; j += kLines * rows::kLine)
        activate_lines<V, kForm, kFunction, kGated, kLines>(t, piece, dst, j, Whole{});
      if constexpr (kLines > 1)
        for (; j + rows::kLine <= n; j += rows::kLine)
          activate_lines<V, kForm, kFunction, kGated, 1>(t, piece, dst, j, Whole{});
      if (j < n)
        activate_lines<V, kForm, kFunction, kGated, 1>(t, piece, dst, j, static_cast<int>(n - j));
      piece.acc += t.panel_stride_bytes;
      if (kGated) piece.gate += t.panel_stride_bytes;
    }
  }
}

// Flattened as the functions of the rows family are, and for the same reason.
template <class V, Form kForm, Function kFunction, bool kGated>
[[gnu::flatten]] void activate_tile(const ActivateTile& t) {
  activate_rows<V, kForm, kFunction, kGated>(t);
}

template <class V, Form kForm>
inline ActivateTileFn tile_of_form(Function function, bool gated) {
  constexpr ActivateTileFn kTiles[kFunctions][2] = {
#define WEFT_PAIR(f) {activate_tile<V, kForm, f, false>, activate_tile<V, kForm, f, true>}
      WEFT_PAIR(Function::kFastGelu), WEFT_PAIR(Function::kGelu), WEFT_PAIR(Function::kRelu),
      WEFT_PAIR(Function::kSilu)
#undef WEFT_PAIR
  };
  return kTiles[static_cast<int>(function)][gated];
}

// Fp16 and Bf16: V for the two types.
template <class Fp16, class Bf16>
inline ActivateTileFn tile(Form form, Function function, bool gated) {
  switch (form) {
    case Form::kFloat16Steps:
      return tile_of_form<Fp16, Form::kFloat16Steps>(function, gated);
    case Form::kFloat16:
      return tile_of_form<Fp16, Form::kFloat16>(function, gated);
    case Form::kBFloat16:
      return tile_of_form<Bf16, Form::kBFloat16>(function, gated);
    case Form::kInt8Steps:
      return tile_of_form<Fp16, Form::kInt8Steps>(function, gated);
    case Form::kInt8:
      break;
  }
  return tile_of_form<Fp16, Form::kInt8>(function, gated);
}

template <class V>
[[gnu::flatten]] void exp_row(const float* src, float* dst, std::int64_t n) {
  const auto line = [&](std::int64_t j, auto count) {
    auto x = V::load_f32(src + j, count);
    exp<V>(x.v);
    V::store_f32(dst + j, x, count);
  };
  std::int64_t j = 0;
  for (; j + rows::kLine <= n; j += rows::kLine) line(j, Whole{});
  if (j < n) line(j, static_cast<int>(n - j));
}

}  // namespace
}  // namespace weft::activation

// Defines the functions of one line of kernels.inc.
#define WEFT_ACTIVATION_DEFINE(suffix, Fp16, Bf16)                         \
  ActivateTileFn tile_##suffix(Form form, Function function, bool gated) { \
    return tile<Fp16, Bf16>(form, function, gated);                        \
  }                                                                        \
  void exp_##suffix(const float* src, float* dst, std::int64_t n) { exp_row<Fp16>(src, dst, n); }
