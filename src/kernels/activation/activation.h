// SPDX-License-Identifier: Apache-2.0
// The activation family: what becomes of a finished tile of the first product of an FFN before the
// second product reads it. All ISAs give the same bits (of a nan: only that it is one): every
// operation is rounded once, in a fixed order, and every fused multiply-add is written as one.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/isa.h"

namespace weft::activation {

/// The function f, evaluated in fp32 as its formula stands:
///
///   fastgelu   v / (1 + exp(-1.702 · v))
///   gelu       v / (1 + exp(-t)),  t = 1.5957691216057308 · (v + 0.044715 · v³)    the tanh form
///   relu       max(v, 0)
///   silu       v / (1 + exp(-v))
///
/// Special values follow from the formulas: nan stays nan, f(inf) = inf, f(-inf) = nan except
/// relu(-inf) = 0. Zero keeps its sign.
enum class Function : std::uint8_t { kFastGelu, kGelu, kRelu, kSilu };
inline constexpr int kFunctions = 4;

/// How a value gets from the sum to what the second product reads. T() rounds to nearest, ties to
/// even, Ta() ties away from zero; overflow gives infinity, subnormals are kept.
///
///   form            acc   h                              dst
///   kFloat16Steps   f32   fp16(acc)                      fp16 = fp16(a)
///   kFloat16        f32   acc                            fp16 = fp16a(a)
///   kBFloat16       f32   acc                            bf16 = bf16a(a)
///   kInt8Steps      s32   fp16(float(acc) · scale[j])    int8 = q(a)
///   kInt8           s32   float(acc) · scale[j]          int8 = q(a)
enum class Form : std::uint8_t { kFloat16Steps, kFloat16, kBFloat16, kInt8Steps, kInt8 };
inline constexpr int kForms = 5;

/// A finished tile of a product becomes rows of activations:
///
///   a         = f(h),  or with a gate h · f(g), where g is made from the gate as h from acc
///   dst[i, j] = a in the form's type
///   q(a)      = sat_int8( rn( fp16( fp16( fp16(a) · quant_scale ) + quant_offset ) ) )
///
/// rn rounds to the nearest integer, ties to even; sat_int8 saturates to [-128, 127]; nan gives 0.
/// acc may be cut into panels of columns as in rows::StoreTile; a gate is laid out like it. dst
/// aliases nothing. Cannot fail.
struct ActivateTile {
  int m;                       // rows
  int n;                       // columns of dst
  const void* acc;             // f32 or s32
  const void* gate = nullptr;  // laid out like acc; for the gated functions only
  std::int64_t acc_stride_bytes;
  int panel_columns;  // columns of a panel of acc; 0: acc is one panel
  std::int64_t panel_stride_bytes;
  const float* scale = nullptr;       // s32: one per column of acc
  const float* gate_scale = nullptr;  // s32 with a gate: one per column of the gate
  void* dst;                          // T or int8
  std::int64_t dst_stride_bytes;
  const float* quant_scale = nullptr;  // int8: quant_scale[j * quant_step], values of fp16
  int quant_step = 0;                  // 0: one for all columns, 1: one per column
  float quant_offset = 0;              // int8: a value of fp16
};
using ActivateTileFn = void (*)(const ActivateTile&);

/// dst[j] = exp(src[j]), j < n, as the functions use it. Where the result is normal the error is
/// below kExpUlps units in the last place; subnormal results are off by at most their last place.
/// exp(x) is inf from the first x on that overflows, 0 from -103.98 down, nan for nan.
using ExpFn = void (*)(const float* src, float* dst, std::int64_t n);
inline constexpr double kExpUlps = 1;

/// The functions of one ISA.
struct Kernels {
  std::string_view name;  ///< activation_<isa>
  isa::Set isa;
  ActivateTileFn (*tile)(Form, Function, bool gated);  ///< never gives null
  ExpFn exp;
};

/// All rows of kernels.inc, best first.
std::span<const Kernels> kernels();

/// The function for the best instruction set among `available`; never null (scalar is always
/// there). `gated`: the tiles will have a gate.
ActivateTileFn select(Form form, Function function, bool gated, isa::Set available);
/// Where select() takes it from: "activation_avx512".
std::string_view name(isa::Set available);

}  // namespace weft::activation
