// SPDX-License-Identifier: Apache-2.0
// The rows family: everything weft does to numbers outside a matmul, one row (or a small tile) at a
// time. T is float16 or bfloat16 (add_rmsnorm_row also: float32). Conversions round to nearest,
// ties to even; overflow gives infinity; nan stays nan. All ISAs give the same bits (of a nan: only
// that it is one): sums have a fixed order (below) and every fused multiply-add is written as one.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/isa.h"
#include "weft/dtype.h"

namespace weft::rows {

/// How results are written. kStream writes past the cache (non-temporal) from the first 64-byte
/// boundary of a row on (int8: 32) and with plain stores before it and at its end; the caller ends
/// a batch with stream_fence().
enum class Store { kPlain, kStream };

/// A finished tile of a product becomes rows of partial sums:
///
///   v = acc[i, j] as fp32; s32 only: v = v · scale[j], then v = v · row_scale[i] if given
///   p = T(v);              p = T(p + addend[i, j]) if given
///   dst[i, j] = p,         or to_int8(p / quant_scale[j]) if quant_scale is given
///
/// to_int8(x) = x in fp32 rounded to float16, then to the nearest integer (ties to even), saturated
/// to [-128, 127]; nan gives 0. acc may be cut into panels of columns, each a block of its own; dst
/// is written row by row all the same, because long runs are what memory takes fastest.
struct StoreTile {
  int m;            // rows
  int n;            // columns
  const void* acc;  // f32 or s32
  std::int64_t acc_stride_bytes;
  int panel_columns;  // columns of a panel of acc; 0: acc is one panel
  std::int64_t panel_stride_bytes;
  void* dst;  // T, or int8 with quant_scale
  std::int64_t dst_stride_bytes;
  const float* scale;  // s32 only: scale[j * scale_step]
  int scale_step;      // 0: one scale for all columns, 1: one per column
  Store store;
  const float* row_scale = nullptr;  // s32 only: one per row of the tile, or null
  const void* addend = nullptr;      // T, or null
  std::int64_t addend_stride_bytes = 0;
  const float* quant_scale = nullptr;  // one per column, or null
};
using StoreTileFn = void (*)(const StoreTile&);

/// dst[j] = T( factor · sum over r = 0 .. count-1, in this order, of float(src[r][j]) ), j < n, in
/// fp32; one rounding to T.
struct SumRows {
  const void* const* src;  // count pointers to rows of T
  int count;               // at least 1
  std::int64_t n;
  void* dst;  // T, may be one of src
  Store store;
  void* copy = nullptr;  // T, on a cache line: where dst goes as well, past the cache; or null
  float factor = 1;
};
using SumRowsFn = void (*)(const SumRows&);

/// The int8 rows of all ranks become the int8 row of their sum (to_int8 as in StoreTile):
///
///   dst[j] = to_int8( (sum over r of src[r][j]) · ratio[j] )     sum exact, product fp32
struct RequantRow {
  const void* const* src;  // count pointers to rows of int8
  int count;               // at least 1
  std::int64_t n;
  const float* ratio;
  void* dst;  // int8
  Store store;
};
using RequantRowFn = void (*)(const RequantRow&);

/// dst[j] = T( float(src[j]) · scale[j] ), src int8, scale fp32.
struct DequantRow {
  const void* src;
  std::int64_t n;
  const float* scale;
  void* dst;  // T
  Store store;
};
using DequantRowFn = void (*)(const DequantRow&);

/// Rows of T whose sum (SumRows) is read in place of a row.
struct SumOf {
  const void* const* src = nullptr;
  int count = 0;
  void* copy = nullptr;  // T, on a cache line: where the sum goes, past the cache; or null
};

/// One row of add + RMSNorm (T throughout; here also float32, where T(x) = x), n elements:
///
///   y[j]   = T(m[j] + residual[j])
///   q      = sum over j of y[j]² · (1/n), fp32: lane l of 32 takes j = l, l + 32, … with
///            acc = fma(y·y, 1/n, acc); then the lanes as a tree: l + (l ^ 16), then 8, 4, 2, 1
///   rstd   = 1 / sqrt(q + epsilon)       fp32 division and square root, correctly rounded
///   h[j]   = T(y[j] · rstd)
///   out[j] = T(h[j] · gamma[j])
///
/// y may be residual's memory. m, residual and gamma are read once.
struct AddRmsNormRow {
  std::int64_t n;
  const void* m;  // null: the sum of `partials`
  const void* residual;
  const void* gamma;
  float epsilon;
  void* y;
  void* out;
  void* scratch;  // n elements of T, rounded up to 32, 64-byte aligned: keeps y hot between the
                  // passes
  Store store;
  float* rstd = nullptr;  // where rstd goes, or null
  SumOf partials = {};    // m, where it is null
  /// Rows (n elements of T each) to fetch into L2 while this row is normalised, when memory is
  /// idle: usually what the next row will read. A hint; null entries are skipped.
  const void* const* ahead = nullptr;
  int ahead_count = 0;
};
using AddRmsNormRowFn = void (*)(const AddRmsNormRow&);

/// Restores quantised weights, n adjacent weights (along n or along k):
///
///   float16:   dst = fp16( fp16(w + offset) · scale )    half arithmetic: two roundings
///   bfloat16:  dst = bf16( (w + offset) · scale )        inner arithmetic and roundings fp32
///
/// Without offset the sum is skipped. scale and offset are T; step 0 is one value for all, step 1
/// one per element.
struct AntiquantRow {
  const void* src;  // int8, or int4 starting at nibble src_nibble (0 or 1) of the first byte
  int src_nibble;   // int4 only
  std::int64_t n;
  const void* scale;
  const void* offset;  // or null
  int step;            // 0 or 1, for both
  void* dst;           // T
};
using AntiquantRowFn = void (*)(const AntiquantRow&);

/// A row that is added with a weight: n elements of T, or of float.
struct Term {
  const void* row;
  float weight;
  bool is_f32 = false;
};

/// dst[j] = T(s[j]), j < n, where
///
///   s[j] = ((0 + w0·r0[j]) + w1·r1[j]) + ...     in the order of the terms
///
/// Each product and each sum is rounded to fp32 (the first sum makes -0 a +0).
struct WeightedSumRow {
  const Term* terms;
  int count;  // may be 0: s is zero
  std::int64_t n;
  void* dst;  // T, may be the memory of a term's row of T
  Store store;
};
using WeightedSumRowFn = void (*)(const WeightedSumRow&);

/// One row of weighted sum + RMSNorm. The norm sees the sum before it is rounded to T:
///
///   f[j] = s[j] of WeightedSumRow     fp32
///   x[j] = T(f[j])
///   q    = the mean of f[j]² as in AddRmsNormRow: the same lanes, the same tree
///   rstd = 1 / sqrt(q + epsilon)      as in AddRmsNormRow
///   y[j] = T( T(f[j] · rstd) · gamma[j] )
///
/// x may be the memory of a term's row of T, y may not. Each row is read once.
struct WeightedSumNormRow {
  const Term* terms;
  int count;  // may be 0: f is zero
  std::int64_t n;
  const void* gamma;
  float epsilon;
  void* x;
  void* y;
  float* rstd;    // where rstd goes, or null
  void* scratch;  // n floats, rounded up to 32, 64-byte aligned: keeps f hot between the passes
  Store store;
};
using WeightedSumNormRowFn = void (*)(const WeightedSumNormRow&);

/// One row becomes int8 with a scale of its own (dynamic quantisation):
///
///   v[j]   = float(src[j]);                 v[j] = v[j] · smooth[j] if given
///   m      = max |v[j]| over the v[j] that are not nan, 0 without any
///   d      = 127 / m
///   dst[j] = v[j] · d as the nearest integer (ties to even); nan gives 0
///   *scale = 1 / d                          two divisions, which is not always m / 127
///
/// fp32; to_int8, which rounds to float16 on the way, is not used. If m is 0 or d is not finite,
/// dst and *scale are 0. If m is infinity, infinities give ±127, all else 0, and *scale is
/// infinity.
struct QuantizeRow {
  const void* src;  // T
  std::int64_t n;
  const float* smooth;  // one per element, or null
  void* dst;            // int8
  float* scale;
  Store store;
};
using QuantizeRowFn = void (*)(const QuantizeRow&);

/// A row becomes int8 with a scale for every 8 elements, for transport. Of each group, the last of
/// which may be shorter:
///
///   g = max |src[j]| · (1/127)       fp32; over what is not nan, 0 without any
///   dst[j] = to_int8(src[j] / g)     to_int8 as in StoreTile; nan, so all of a group of zeros, is
///   0 group_scale[i] = T(g)
struct EncodeGroupsRow {
  const void* src;  // T
  std::int64_t n;
  void* dst;          // int8
  void* group_scale;  // T, one per group
};
using EncodeGroupsRowFn = void (*)(const EncodeGroupsRow&);

/// dst[j] = T( float(src[j]) · float(group_scale[j / 8]) ), src int8.
struct DecodeGroupsRow {
  const void* src;
  const void* group_scale;  // T, one per group of 8
  std::int64_t n;
  void* dst;  // T
};
using DecodeGroupsRowFn = void (*)(const DecodeGroupsRow&);

/// dst[j] = alpha_1·x[j] + alpha_2·v[j] in fp32 with three roundings. x, v and the alphas are T;
/// alpha_step 0 is one alpha for all elements, 1 is one per element, for both.
struct BlendRow {
  const void* x;
  const void* v;
  const void* alpha_1;
  const void* alpha_2;
  int alpha_step;
  std::int64_t n;
  float* dst;
};
using BlendRowFn = void (*)(const BlendRow&);

/// dst[j] = float(src[j]) and dst[j] = T(src[j]).
using WidenFn = void (*)(const void* src, float* dst, std::int64_t n);
using NarrowFn = void (*)(const float* src, void* dst, std::int64_t n);

/// The functions of one ISA for one T. For float32 there is add_rmsnorm_row alone, the others are
/// null.
struct Kernels {
  std::string_view name;  ///< rows_<T>_<isa>
  isa::Set isa;
  DType type;
  StoreTileFn store_tile_f32;  ///< acc f32
  StoreTileFn store_tile_s32;  ///< acc s32, with scale
  SumRowsFn sum_rows;
  AddRmsNormRowFn add_rmsnorm_row;
  RequantRowFn requant_row;  ///< does not depend on T
  DequantRowFn dequant_row;
  AntiquantRowFn antiquant_int8_row;
  AntiquantRowFn antiquant_int4_row;
  WidenFn widen;
  NarrowFn narrow;
  WeightedSumRowFn weighted_sum_row;
  WeightedSumNormRowFn weighted_sum_norm_row;
  QuantizeRowFn quantize_row;
  EncodeGroupsRowFn encode_groups_row;
  DecodeGroupsRowFn decode_groups_row;
  BlendRowFn blend_row;
};

/// All rows of kernels.inc, best first within a type.
std::span<const Kernels> kernels();
/// The best row for T among `available`; never null (scalar is always there).
const Kernels& select(DType type, isa::Set available);

/// Makes earlier Store::kStream writes of this thread visible before later stores (sfence).
void stream_fence();

}  // namespace weft::rows
