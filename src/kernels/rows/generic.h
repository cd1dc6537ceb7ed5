// SPDX-License-Identifier: Apache-2.0
// The row algorithms, once, over a vector wrapper V (scalar.h, x86_avx2.h, x86_avx512.h); those
// that normalise are in generic_norm.h, those of a mixture of experts in generic_moe.h. Included by
// files for one instruction set only; everything is in an anonymous namespace, so that code
// compiled for one instruction set can never be linked into the path of another.
//
// Everything goes in lines of 32 elements: 64 bytes of T, one cache line, and one step of the 32
// lanes that the RMSNorm sum is defined over. A line that is not whole has a count of 1..31.
//
// V provides
//   Element               what a T is stored as: its bits (U16), or float
//   F, kRegs              a register of floats, and how many hold a line
//   Line                  {F v[kRegs]}: 32 floats. In element order, unless V says otherwise
//   Packed                the same 32 elements as T
//   add, mul, fma         on F, each rounded once
//   broadcast(float)      all elements of an F
//   load(p, count)        32 elements of T widened; what count leaves out reads as zero, unread
//   pack, unpack          Line to Packed (rounds) and back (exact)
//   load_packed(p, count), store(p, packed, count), stream(p, packed)   stream: p is aligned
//   kStreams              stream goes past the cache; else nothing is gained by aligning for it
//   lanes(line, float[32])   the floats in element order
// and, where the order is that of the elements and T has 16 bits,
//   fill(p)               one element of T, widened, in all places
//   div                   on F
//   load_f32, load_s32, load_s8, load_s4 (p, count): numbers converted to float
//   store_f32(p, line, count)
//   Bytes                 32 int8
//   to_bytes(line)        to_int8 of rows.h
//   store(p, bytes, count), stream(p, bytes)
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

// T = float32 over the floats of V: packing is nothing. Who derives from it has stream to add.
template <class V>
struct InFloats : V {
  using Element = float;
  using typename V::Line;
  using Packed = Line;
  static Packed pack(const Line& x) { return x; }
  static Line unpack(const Packed& x) { return x; }
  template <class Count>
  static Line load(const float* p, Count count) {
    return V::load_f32(p, count);
  }
  template <class Count>
  static Packed load_packed(const float* p, Count count) {
    return V::load_f32(p, count);
  }
  template <class Count>
  static void store(float* p, const Packed& x, Count count) {
    V::store_f32(p, x, count);
  }
};

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
inline typename V::Line div(const typename V::Line& a, const typename V::Line& b) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::div(a.v[i], b.v[i]);
  return r;
}

template <class V>
inline typename V::Line mul(const typename V::Line& a, typename V::F b) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::mul(a.v[i], b);
  return r;
}

// dst[j ...] = make(j, count) for lines that cover n elements. A streamed row starts with the
// elements before the first boundary, so that every other line can go past the cache. The boundary
// is that of a cache line; a line of int8 fills half of one, and its neighbour the other half.
template <class V, class E, class Make>
inline void each_line(E* dst, std::int64_t n, Store store, const Make& make) {
  constexpr std::int64_t kBoundary = kLine * sizeof(E) < 64 ? kLine * sizeof(E) : 64;
  std::int64_t j = 0;
  if (V::kStreams && store == Store::kStream) {
    const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(dst));
    const std::int64_t past = address % kBoundary;
    if (past != 0) {
      const auto before = (kBoundary - past) / static_cast<std::int64_t>(sizeof(E));
      j = before < n ? before : n;
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

// line(j, count) for the lines of n elements.
template <class LineFn>
inline void lines_from_0(std::int64_t n, const LineFn& line) {
  std::int64_t j = 0;
  for (; j + kLine <= n; j += kLine) line(j, Whole{});
  if (j < n) line(j, static_cast<int>(n - j));
}

inline bool line_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 64 == 0; }

// Where row i starts that has `stride_bytes` from row to row.
template <class E>
inline E* row_of(void* base, std::int64_t stride_bytes, int i) {
  return static_cast<E*>(static_cast<void*>(static_cast<char*>(base) + i * stride_bytes));
}
template <class E>
inline const E* row_of(const void* base, std::int64_t stride_bytes, int i) {
  return static_cast<const E*>(
      static_cast<const void*>(static_cast<const char*>(base) + i * stride_bytes));
}

// What a tile asks for, as a type: the loops over its elements have no choices left.
struct TileForm {
  bool row_scale, addend, quant;
};

// load(acc, first column, j, count) gives the elements j ... of a piece of a row, a piece being
// what lies in one panel of acc. The tile comes by value, because no store can change a copy.
template <class V, TileForm kForm, class Load>
inline void store_tile_as(const StoreTile a, const Load load) {
  const int panel = a.panel_columns != 0 ? a.panel_columns : a.n;
  for (int i = 0; i < a.m; ++i) {
    const char* acc = row_of<char>(a.acc, a.acc_stride_bytes, i);
    char* dst = row_of<char>(a.dst, a.dst_stride_bytes, i);
    const U16* addend = kForm.addend ? row_of<U16>(a.addend, a.addend_stride_bytes, i) : nullptr;
    const auto row_scale = V::broadcast(kForm.row_scale ? a.row_scale[i] : 1.0f);
    for (int first = 0; first < a.n; first += panel, acc += a.panel_stride_bytes) {
      const int n = a.n - first < panel ? a.n - first : panel;
      const auto partial = [&](std::int64_t j, auto count) {
        auto v = load(static_cast<const void*>(acc), first, j, count);
        if constexpr (kForm.row_scale) v = mul<V>(v, row_scale);
        auto p = V::pack(v);
        if constexpr (kForm.addend)
          p = V::pack(add<V>(V::unpack(p), V::load(addend + first + j, count)));
        return p;
      };
      if constexpr (kForm.quant) {
        each_line<V>(row_of<std::int8_t>(dst, 1, first), n, a.store,
                     [&](std::int64_t j, auto count) {
                       const auto scale = V::load_f32(a.quant_scale + first + j, count);
                       return V::to_bytes(div<V>(V::unpack(partial(j, count)), scale));
                     });
      } else {
        each_line<V>(row_of<U16>(dst, sizeof(U16), first), n, a.store, partial);
      }
    }
  }
}

template <class V, bool kRowScale, class Load>
inline void store_tile(const StoreTile& a, const Load& load) {
  if (a.addend && a.quant_scale) return store_tile_as<V, TileForm{kRowScale, true, true}>(a, load);
  if (a.addend) return store_tile_as<V, TileForm{kRowScale, true, false}>(a, load);
  if (a.quant_scale) return store_tile_as<V, TileForm{kRowScale, false, true}>(a, load);
  store_tile_as<V, TileForm{kRowScale, false, false}>(a, load);
}

template <class V>
void store_tile_f32(const StoreTile& a) {
  store_tile<V, false>(a, [](const void* acc, int, std::int64_t j, auto count) {
    return V::load_f32(static_cast<const float*>(acc) + j, count);
  });
}

template <class V>
void store_tile_s32(const StoreTile& a) {
  const float* scale = a.scale;
  const bool per_column = a.scale_step != 0;
  const auto one_scale = V::broadcast(*scale);
  const auto load = [=](const void* acc, int first, std::int64_t j, auto count) {
    const auto x = V::load_s32(static_cast<const std::int32_t*>(acc) + j, count);
    if (per_column) return mul<V>(x, V::load_f32(scale + first + j, count));
    return mul<V>(x, one_scale);
  };
  if (a.row_scale) return store_tile<V, true>(a, load);
  store_tile<V, false>(a, load);
}

// A line of the sum of rows, before it is rounded.
template <class V, class Count>
inline typename V::Line sum_line(const void* const* rows, int row_count, std::int64_t j,
                                 Count count) {
  using E = typename V::Element;
  auto sum = V::load(static_cast<const E*>(rows[0]) + j, count);
  for (int r = 1; r < row_count; ++r)
    sum = add<V>(sum, V::load(static_cast<const E*>(rows[r]) + j, count));
  return sum;
}

template <class V, class Packed>
inline void stream_line(typename V::Element* p, const Packed& line, Whole) {
  V::stream(p, line);
}
template <class V, class Packed>
inline void stream_line(typename V::Element* p, const Packed& line, int count) {
  V::store(p, line, count);
}

template <class V>
void sum_rows(const SumRows& a) {
  auto* const dst = static_cast<U16*>(a.dst);
  auto* const copy = static_cast<U16*>(a.copy);
  // Beside the loads a product, by 1 most of the time, costs nothing.
  const auto factor = V::broadcast(a.factor);
  const auto packed = [&](std::int64_t j, auto count) {
    return V::pack(mul<V>(sum_line<V>(a.src, a.count, j, count), factor));
  };
  if (!copy) return each_line<V>(dst, a.n, a.store, packed);
  // Lines are those of the copy; where dst has others, it is not worth going past the cache.
  const bool streams = a.store == Store::kStream && line_aligned(dst);
  lines_from_0(a.n, [&](std::int64_t j, auto count) {
    const auto sum = packed(j, count);
    stream_line<V>(copy + j, sum, count);
    if (streams)
      stream_line<V>(dst + j, sum, count);
    else
      V::store(dst + j, sum, count);
  });
}

// Floats hold the sum of up to 2^17 int8 exactly.
template <class V>
void requant_row(const RequantRow& a) {
  const auto* src = reinterpret_cast<const std::int8_t* const*>(a.src);
  each_line<V>(static_cast<std::int8_t*>(a.dst), a.n, a.store, [&](std::int64_t j, auto count) {
    auto sum = V::load_s8(src[0] + j, count);
    for (int r = 1; r < a.count; ++r) sum = add<V>(sum, V::load_s8(src[r] + j, count));
    return V::to_bytes(mul<V>(sum, V::load_f32(a.ratio + j, count)));
  });
}

template <class V>
void dequant_row(const DequantRow& a) {
  const auto* src = static_cast<const std::int8_t*>(a.src);
  each_line<V>(static_cast<U16*>(a.dst), a.n, a.store, [&](std::int64_t j, auto count) {
    return V::pack(mul<V>(V::load_s8(src + j, count), V::load_f32(a.scale + j, count)));
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
  each_line<V>(static_cast<U16*>(dst), n, Store::kPlain,
               [&](std::int64_t j, auto count) { return V::pack(V::load_f32(src + j, count)); });
}

}  // namespace
}  // namespace weft::rows

// Defines what is above for one line WEFT_ROWS of kernels.inc. V keeps elements in order; W may
// not, for what goes from T to T. Flattened: left to the compiler, the size of such a file decides
// which of its conversions become calls within the loops, and a tile then takes up to a third
// longer.
#define WEFT_ROWS_DEFINE(suffix, V, W)                                                        \
  [[gnu::flatten]] void store_tile_f32_##suffix(const StoreTile& a) { store_tile_f32<V>(a); } \
  [[gnu::flatten]] void store_tile_s32_##suffix(const StoreTile& a) { store_tile_s32<V>(a); } \
  [[gnu::flatten]] void sum_rows_##suffix(const SumRows& a) { sum_rows<W>(a); }               \
  [[gnu::flatten]] void requant_row_##suffix(const RequantRow& a) { requant_row<V>(a); }      \
  [[gnu::flatten]] void dequant_row_##suffix(const DequantRow& a) { dequant_row<V>(a); }      \
  [[gnu::flatten]] void antiquant_int8_row_##suffix(const AntiquantRow& a) {                  \
    antiquant_int8_row<V>(a);                                                                 \
  }                                                                                           \
  [[gnu::flatten]] void antiquant_int4_row_##suffix(const AntiquantRow& a) {                  \
    antiquant_int4_row<V>(a);                                                                 \
  }                                                                                           \
  [[gnu::flatten]] void widen_##suffix(const void* src, float* dst, std::int64_t n) {         \
    widen<V>(src, dst, n);                                                                    \
  }                                                                                           \
  [[gnu::flatten]] void narrow_##suffix(const float* src, void* dst, std::int64_t n) {        \
    narrow<V>(src, dst, n);                                                                   \
  }
