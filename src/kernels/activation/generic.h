// SPDX-License-Identifier: Apache-2.0
// The activation algorithms, once, over vector wrappers V: those of the rows family
// (kernels/rows/generic.h), where lines are explained, in the order of the elements. Included by
// exactly one file per instruction set; everything is in an anonymous namespace, so that code
// compiled for one instruction set can never be linked into the path of another.
//
// To what rows and exp.h ask of V the files here add
//   pack_away(line)   pack, but ties go away from zero
//   kLinesAtOnce   how many lines keep the units busy
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/activation/exp.h"
#include "kernels/rows/generic.h"

#ifndef WEFT_ACTIVATION_FLATTEN
#define WEFT_ACTIVATION_FLATTEN [[gnu::flatten]]
#endif

namespace weft::activation {
namespace {

using rows::Whole;
using U16 = rows::U16;

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

// The registers of `line` as a Line, which conversions take and give.
template <class V, int kCount>
inline typename V::Line line_of(const typename V::F (&x)[kCount], int line) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = x[line * V::kRegs + i];
  return r;
}
template <class V, int kCount>
inline void set_line(typename V::F (&x)[kCount], int line, const typename V::Line& values) {
  for (int i = 0; i < V::kRegs; ++i) x[line * V::kRegs + i] = values.v[i];
}

template <class V, int kCount>
inline void round_to_t(typename V::F (&x)[kCount]) {
  for (int line = 0; line < kCount / V::kRegs; ++line)
    set_line<V>(x, line, V::unpack(V::pack(line_of<V>(x, line))));
}

// Where the lines of a row lie, one after the other: bytes from where the row starts.
class Lines {
 public:
  // A panel is whole lines.
  explicit Lines(const ActivateTile& t)
      : per_panel_((t.panel_columns != 0 ? t.panel_columns : t.n + rows::kLine - 1) / rows::kLine),
        panel_stride_bytes_(t.panel_stride_bytes) {}
  std::int64_t next() {
    const std::int64_t at = panel_at_ + line_ * rows::kLine * 4;
    if (++line_ == per_panel_) {
      line_ = 0;
      panel_at_ += panel_stride_bytes_;
    }
    return at;
  }

 private:
  const std::int64_t per_panel_, panel_stride_bytes_;
  std::int64_t line_ = 0, panel_at_ = 0;
};

// h or g from the element `column` of the row on; its lines are at at[0], at[1] ...
template <class V, Form kForm, class Count, int kCount>
inline void load(const char* acc, const std::int64_t* at, const float* scale, std::int64_t column,
                 Count count, typename V::F (&h)[kCount]) {
  for (int line = 0; line < kCount / V::kRegs; ++line, column += rows::kLine) {
    const auto* p = static_cast<const void*>(acc + at[line]);
    if constexpr (to_int8(kForm))
      set_line<V>(h, line,
                  rows::mul<V>(V::load_s32(static_cast<const std::int32_t*>(p), count),
                               V::load_f32(scale + column, count)));
    else
      set_line<V>(h, line, V::load_f32(static_cast<const float*>(p), count));
  }
  if constexpr (in_steps(kForm)) round_to_t<V>(h);
}

// What q() makes of a before its last conversion. fp32 holds the product of two values of fp16, and
// rounds their sum so that rounding it again to fp16 changes nothing (24 >= 2 · 11 + 2 bits).
template <class V, class Count, int kCount>
inline void scale_and_offset(typename V::F (&a)[kCount], const ActivateTile& t, std::int64_t column,
                             Count count) {
  round_to_t<V>(a);
  if (t.quant_step != 0) {
    for (int line = 0; line < kCount / V::kRegs; ++line)
      set_line<V>(a, line,
                  rows::mul<V>(line_of<V>(a, line),
                               V::load_f32(t.quant_scale + column + line * rows::kLine, count)));
  } else {
    each(a, [&](int i) { return V::mul(a[i], V::broadcast(*t.quant_scale)); });
  }
  round_to_t<V>(a);
  each(a, [&](int i) { return V::add(a[i], V::broadcast(t.quant_offset)); });
}

struct Row {
  const char* acc;
  const char* gate;
  void* dst;
};

template <class V, Form kForm, Function kFunction, bool kGated, int kLines, class Count>
inline void activate_lines(const ActivateTile& t, const Row& row, Lines& lines, std::int64_t column,
                           Count count) {
  std::int64_t at[kLines];
  for (auto& line : at) line = lines.next();
  typename V::F a[kLines * V::kRegs];
  if constexpr (kGated) {
    load<V, kForm>(row.gate, at, t.gate_scale, column, count, a);
    activate<V, kFunction>(a);
    typename V::F h[kLines * V::kRegs];
    load<V, kForm>(row.acc, at, t.scale, column, count, h);
    each(a, [&](int i) { return V::mul(h[i], a[i]); });
  } else {
    load<V, kForm>(row.acc, at, t.scale, column, count, a);
    activate<V, kFunction>(a);
  }
  if constexpr (to_int8(kForm)) scale_and_offset<V>(a, t, column, count);
  for (int line = 0; line < kLines; ++line, column += rows::kLine) {
    const auto x = line_of<V>(a, line);
    if constexpr (to_int8(kForm))
      V::store(static_cast<std::int8_t*>(row.dst) + column, V::to_bytes(x), count);
    else if constexpr (in_steps(kForm))
      V::store(static_cast<U16*>(row.dst) + column, V::pack(x), count);
    else
      V::store(static_cast<U16*>(row.dst) + column, V::pack_away(x), count);
  }
}

// Panels are whole lines. The tile comes by value, because no store can change a copy.
template <class V, Form kForm, Function kFunction, bool kGated>
inline void activate_rows(const ActivateTile t) {
  constexpr int kLines = V::kLinesAtOnce * (to_int8(kForm) ? 2 : 1);
  for (int i = 0; i < t.m; ++i) {
    const Row row = {rows::row_of<char>(t.acc, t.acc_stride_bytes, i),
                     kGated ? rows::row_of<char>(t.gate, t.acc_stride_bytes, i) : nullptr,
                     rows::row_of<char>(t.dst, t.dst_stride_bytes, i)};
    Lines lines(t);
    std::int64_t j = 0;
    for (; j + kLines * rows::kLine <= t.n; j += kLines * rows::kLine)
      activate_lines<V, kForm, kFunction, kGated, kLines>(t, row, lines, j, Whole{});
    if constexpr (kLines > 1)
      for (; j + rows::kLine <= t.n; j += rows::kLine)
        activate_lines<V, kForm, kFunction, kGated, 1>(t, row, lines, j, Whole{});
    if (j < t.n)
      activate_lines<V, kForm, kFunction, kGated, 1>(t, row, lines, j, static_cast<int>(t.n - j));
  }
}

// n numbers of a row from `column` on, from panels of any width to where they lie together.
inline void gather(const ActivateTile& t, const void* acc, int i, int column, int n, char* to) {
  const int width = t.panel_columns;
  int past = column % width;
  const char* panel = rows::row_of<char>(acc, t.acc_stride_bytes, i);
  panel += column / width * t.panel_stride_bytes;
  for (; n > 0; panel += t.panel_stride_bytes, past = 0) {
    const char* from = panel + past * 4;
    int count = width - past < n ? width - past : n;
    n -= count;
    for (; count >= 16; count -= 16, from += 64, to += 64) __builtin_memcpy(to, from, 64);
    for (; count > 0; --count, from += 4, to += 4) __builtin_memcpy(to, from, 4);
  }
}

// Panels of 16 columns and others that are no whole lines: each row goes to `whole` by way of a
// buffer. dst has elements of element_bytes.
[[gnu::noinline]] void activate_narrow_panels(const ActivateTile& t, int element_bytes,
                                              ActivateTileFn whole) {
  constexpr int kColumns = 8 * rows::kLine;
  alignas(64) char acc[kColumns * 4], gate[kColumns * 4];
  ActivateTile part = t;
  part.m = 1;
  part.acc = acc;
  part.gate = gate;
  part.panel_columns = 0;
  for (int column = 0; column < t.n; column += kColumns) {
    part.n = t.n - column < kColumns ? t.n - column : kColumns;
    if (t.scale) part.scale = t.scale + column;
    if (t.gate_scale) part.gate_scale = t.gate_scale + column;
    if (t.quant_scale) part.quant_scale = t.quant_scale + column * t.quant_step;
    for (int i = 0; i < t.m; ++i) {
      gather(t, t.acc, i, column, part.n, acc);
      if (t.gate) gather(t, t.gate, i, column, part.n, gate);
      part.dst = rows::row_of<char>(t.dst, t.dst_stride_bytes, i) + column * element_bytes;
      whole(part);
    }
  }
}

// Flattened as the functions of the rows family are, and for the same reason.
template <class V, Form kForm, Function kFunction, bool kGated>
WEFT_ACTIVATION_FLATTEN void activate_tile(const ActivateTile& t) {
  if (t.panel_columns % rows::kLine != 0)
    activate_narrow_panels(t, to_int8(kForm) ? 1 : 2, activate_tile<V, kForm, kFunction, kGated>);
  else
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
WEFT_ACTIVATION_FLATTEN void exp_row(const float* src, float* dst, std::int64_t n) {
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
