// SPDX-License-Identifier: Apache-2.0
// The row algorithms, once, over a vector wrapper V. Included by exactly one file per instruction
// set; everything is in an anonymous namespace, so that code compiled for one instruction set can
// never be linked into the path of another.
//
// Everything goes in lines of 32 elements: 64 bytes of T, one cache line, and one step of the 32
// lanes that the RMSNorm sum is defined over. A line that is not whole has a count of 1..31.
//
// V provides
//   F, kRegs              a register of floats, and how many hold a line
//   Line                  {F v[kRegs]}: 32 floats. In element order, unless V says otherwise
//   Packed                the same 32 elements as T
//   add, mul, fma         on F, each rounded once
//   broadcast(float)      all elements of an F
//   load(p, count)        32 elements of T widened; what count leaves out reads as zero, unread
//   fill(p)               one element of T, widened, in all places
//   pack, unpack          Line to Packed (rounds) and back (exact)
//   store(p, packed, count), stream(p, packed)   stream: p is 64-byte aligned
//   lanes(line, float[32])   the floats in element order
// and, where the order is that of the elements,
//   load_f32, load_s32, load_s8, load_s4 (p, count): numbers converted to float
//   store_f32(p, line, count)
//   kRoundEachStep: T's own arithmetic rounds after every operation (float16)
#pragma once

#include <cstdint>

#include "kernels/rows/rows.h"

namespace weft::rows {
namespace {

using U16 = std::uint16_t;  // the bits of a T
constexpr std::int64_t kLine = 32;

// The count of a whole line, as a type: the usual case has no masks and no branches.
struct Whole {};

template <class V>
inline typename V::Line add(const typename V::Line& a, const typename V::Line& b) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::add(a.v[i], b.v[i]);
  return r;
}

template <class V>
inline typename V::Line mul(const typename V::Line& a, const typename V::Line& b) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::mul(a.v[i], b.v[i]);
  return r;
}

template <class V>
inline typename V::Line mul(const typename V::Line& a, typename V::F b) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::mul(a.v[i], b);
  return r;
}

// dst[j ...] = make(j, count) for lines that cover n elements. A streamed row starts with the
// elements before the first cache line boundary, so that every other line can go past the cache.
template <class V, class Make>
inline void each_line(void* dst_bytes, std::int64_t n, Store store, const Make& make) {
  auto* dst = static_cast<U16*>(dst_bytes);
  std::int64_t j = 0;
  if (store == Store::kStream) {
    const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(dst) % 64 / 2);
    if (past != 0) {
      j = kLine - past < n ? kLine - past : n;
      V::store(dst, make(0, static_cast<int>(j)), static_cast<int>(j));
    }
    for (; j + kLine <= n; j += kLine) V::stream(dst + j, make(j, Whole{}));
  } else {
    for (; j + kLine <= n; j += kLine) V::store(dst + j, make(j, Whole{}), Whole{});
  }
  if (j < n) {
    const int rest = static_cast<int>(n - j);
    V::store(dst + j, make(j, rest), rest);
  }
}

// store(acc, dst, first column, columns) for every piece of a row that lies in one panel of acc.
template <class Piece>
inline void each_piece(const StoreTile& a, const Piece& store) {
  const int panel = a.panel_columns != 0 ? a.panel_columns : a.n;
  for (int i = 0; i < a.m; ++i) {
    const auto* acc = static_cast<const char*>(a.acc) + i * a.acc_stride_bytes;
    auto* dst =
        static_cast<U16*>(static_cast<void*>(static_cast<char*>(a.dst) + i * a.dst_stride_bytes));
    for (int j = 0; j < a.n; j += panel, acc += a.panel_stride_bytes)
      store(static_cast<const void*>(acc), dst + j, j, a.n - j < panel ? a.n - j : panel);
  }
}

template <class V>
void store_tile_f32(const StoreTile& a) {
  each_piece(a, [&](const void* acc, U16* dst, int, int n) {
    each_line<V>(dst, n, a.store, [&](std::int64_t j, auto count) {
      return V::pack(V::load_f32(static_cast<const float*>(acc) + j, count));
    });
  });
}

template <class V>
void store_tile_s32(const StoreTile& a) {
  const auto one_scale = V::broadcast(a.scale[0]);
  each_piece(a, [&](const void* acc, U16* dst, int first, int n) {
    each_line<V>(dst, n, a.store, [&](std::int64_t j, auto count) {
      const auto x = V::load_s32(static_cast<const std::int32_t*>(acc) + j, count);
      if (a.scale_step == 0) return V::pack(mul<V>(x, one_scale));
      return V::pack(mul<V>(x, V::load_f32(a.scale + first + j, count)));
    });
  });
}

template <class V>
void sum_rows(const SumRows& a) {
  const auto* src = reinterpret_cast<const U16* const*>(a.src);
  each_line<V>(a.dst, a.n, a.store, [&](std::int64_t j, auto count) {
    auto sum = V::load(src[0] + j, count);
    for (int r = 1; r < a.count; ++r) sum = add<V>(sum, V::load(src[r] + j, count));
    return V::pack(sum);
  });
}

// The tree l + (l ^ 16), then 8, 4, 2, 1. Addition commutes, so one side of each pair is enough.
template <class V>
inline float sum_of_lanes(const typename V::Line& line) {
  alignas(64) float lane[kLine];
  V::lanes(line, lane);
  for (int step = 16; step >= 1; step /= 2)
    for (int l = 0; l < step; ++l) lane[l] += lane[l + step];
  return lane[0];
}

// First pass: y goes to the scratch row and to put_y; returns the mean of its squares.
template <class V, class PutY>
inline float add_and_mean_square(const AddRmsNormRow& a, const PutY& put_y) {
  const auto* m = static_cast<const U16*>(a.m);
  const auto* residual = static_cast<const U16*>(a.residual);
  auto* scratch = static_cast<U16*>(a.scratch);
  const auto per_n = V::broadcast(1.0f / static_cast<float>(a.n));
  typename V::Line acc;
  for (int i = 0; i < V::kRegs; ++i) acc.v[i] = V::broadcast(0.0f);
  const auto line = [&](std::int64_t j, auto count) {
    const auto packed = V::pack(add<V>(V::load(m + j, count), V::load(residual + j, count)));
    V::store(scratch + j, packed, Whole{});
    put_y(j, packed, count);
    const auto y = V::unpack(packed);  // zero where count leaves out: adds nothing to its lane
    for (int i = 0; i < V::kRegs; ++i) acc.v[i] = V::fma(V::mul(y.v[i], y.v[i]), per_n, acc.v[i]);
  };
  std::int64_t j = 0;
  for (; j + kLine <= a.n; j += kLine) line(j, Whole{});
  if (j < a.n) line(j, static_cast<int>(a.n - j));
  return sum_of_lanes<V>(acc);
}

inline bool line_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 64 == 0; }

template <class V>
void add_rmsnorm_row(const AddRmsNormRow& a) {
  auto* y = static_cast<U16*>(a.y);
  const auto* scratch = static_cast<const U16*>(a.scratch);
  const auto* gamma = static_cast<const U16*>(a.gamma);
  float mean_square;
  if (a.store == Store::kPlain) {
    mean_square = add_and_mean_square<V>(
        a, [&](std::int64_t j, const auto& packed, auto count) { V::store(y + j, packed, count); });
  } else if (line_aligned(y) && a.n % kLine == 0) {
    mean_square = add_and_mean_square<V>(
        a, [&](std::int64_t j, const auto& packed, auto) { V::stream(y + j, packed); });
  } else {
    // The lanes start at element 0, cache lines do not: y goes out from the scratch row, whose
    // lines need not match.
    mean_square = add_and_mean_square<V>(a, [](std::int64_t, const auto&, auto) {});
    each_line<V>(y, a.n, Store::kStream,
                 [&](std::int64_t j, auto count) { return V::load_packed(scratch + j, count); });
  }
  const auto rstd = V::broadcast(1.0f / __builtin_sqrtf(mean_square + a.epsilon));
  each_line<V>(a.out, a.n, a.store, [&](std::int64_t j, auto count) {
    for (int r = 0; r < a.ahead_count; ++r)
      if (a.ahead[r]) __builtin_prefetch(static_cast<const U16*>(a.ahead[r]) + j, 0, 2);
    const auto h = V::unpack(V::pack(mul<V>(V::load(scratch + j, count), rstd)));
    return V::pack(mul<V>(h, V::load(gamma + j, count)));
  });
}

// weights(j, count) gives w[j ...] as floats; j counts from a.dst.
template <class V, class Weights>
inline void antiquant_row(const AntiquantRow& a, std::int64_t begin, std::int64_t end,
                          const Weights& weights) {
  const auto* scale = static_cast<const U16*>(a.scale);
  const auto* offset = static_cast<const U16*>(a.offset);
  const bool per_element = a.step != 0;
  const auto one_scale = V::fill(scale);
  const auto one_offset = V::fill(offset ? offset : scale);
  each_line<V>(static_cast<U16*>(a.dst) + begin, end - begin, Store::kPlain,
               [&](std::int64_t at, auto count) {
                 const std::int64_t j = begin + at;
                 auto w = weights(j, count);
                 if (offset) {
                   w = add<V>(w, per_element ? V::load(offset + j, count) : one_offset);
                   if (V::kRoundEachStep) w = V::unpack(V::pack(w));
                 }
                 return V::pack(mul<V>(w, per_element ? V::load(scale + j, count) : one_scale));
               });
}

template <class V>
void antiquant_int8_row(const AntiquantRow& a) {
  const auto* src = static_cast<const std::int8_t*>(a.src);
  antiquant_row<V>(a, 0, a.n,
                   [&](std::int64_t j, auto count) { return V::load_s8(src + j, count); });
}

template <class V>
void antiquant_int4_row(const AntiquantRow& a) {
  const auto* src = static_cast<const std::uint8_t*>(a.src);
  // A row that starts in a high nibble: that one weight alone, then whole bytes.
  const std::int64_t odd = a.src_nibble != 0 && a.n > 0 ? 1 : 0;
  if (odd) {
    const auto high = static_cast<std::uint8_t>(src[0] >> 4);
    antiquant_row<V>(a, 0, 1, [&](std::int64_t, auto) { return V::load_s4(&high, 1); });
  }
  antiquant_row<V>(a, odd, a.n, [&](std::int64_t j, auto count) {
    return V::load_s4(src + (j + odd) / 2, count);
  });
}

template <class V>
void widen(const void* src_bytes, float* dst, std::int64_t n) {
  const auto* src = static_cast<const U16*>(src_bytes);
  std::int64_t j = 0;
  for (; j + kLine <= n; j += kLine) V::store_f32(dst + j, V::load(src + j, Whole{}), Whole{});
  if (j < n) {
    const int rest = static_cast<int>(n - j);
    V::store_f32(dst + j, V::load(src + j, rest), rest);
  }
}

template <class V>
void narrow(const float* src, void* dst, std::int64_t n) {
  each_line<V>(dst, n, Store::kPlain,
               [&](std::int64_t j, auto count) { return V::pack(V::load_f32(src + j, count)); });
}

}  // namespace
}  // namespace weft::rows

// Defines the eight functions of one line of kernels.inc. V keeps elements in order; W may not, for
// what goes from T to T.
#define WEFT_ROWS_DEFINE(suffix, V, W)                                                        \
  void store_tile_f32_##suffix(const StoreTile& a) { store_tile_f32<V>(a); }                  \
  void store_tile_s32_##suffix(const StoreTile& a) { store_tile_s32<V>(a); }                  \
  void sum_rows_##suffix(const SumRows& a) { sum_rows<W>(a); }                                \
  void add_rmsnorm_row_##suffix(const AddRmsNormRow& a) { add_rmsnorm_row<W>(a); }            \
  void antiquant_int8_row_##suffix(const AntiquantRow& a) { antiquant_int8_row<V>(a); }       \
  void antiquant_int4_row_##suffix(const AntiquantRow& a) { antiquant_int4_row<V>(a); }       \
  void widen_##suffix(const void* src, float* dst, std::int64_t n) { widen<V>(src, dst, n); } \
  void narrow_##suffix(const float* src, void* dst, std::int64_t n) { narrow<V>(src, dst, n); }
