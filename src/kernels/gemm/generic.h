// SPDX-License-Identifier: Apache-2.0
// The algorithms of the kernels, once, over a vector type and an element type.
//
// All kernels here share one shape: a k_step of one row of A, or of one column of B, is one 32-bit
// word (one fp32, two int16, two bfloat16 or four int8). So one loop multiplies them all, and
// packing is "make words, then transpose words". An instruction set gives
//
//   Vec         kLanes words            zero(), load(), store(), store_lanes<n>() (the first n)
//               load_part(p, bytes)     reads no further; the rest is zero
//               broadcast(p)            one word in every lane
//               transpose(x)            kLanes x kLanes words in place
//   Dot : Vec   Acc, kStep              load_acc(), store_acc(), zero_acc(), dot(acc, a, b)
//               kBHeaderBytes, correct(acc, header)   what the header of B changes
//   Source: Vec kBytes, kStep           of one element of the matrix; elements per packed word
//               expand(raw, out)        raw: a word of the matrix per lane, along k -> the
//                                       4 / (kBytes * kStep) packed words it holds
//               load_n(p, stride)       kStep rows of kLanes elements -> a packed word per column
//               load_n(p, stride, rows, count)   `rows` and `count` exist, the rest is zero
//               kHeaderBytes, add_header(sum, x)  what the header sums up
//
// Everything is in an anonymous namespace: each instruction set must keep its own copy, because the
// linker would be free to keep the AVX-512 copy of a shared one for all.
#pragma once

#include <cstdint>

#include "kernels/gemm/gemm.h"

// The loops over rows, vectors and lanes must vanish, or their arrays live in memory.
#if defined(__clang__)
#define WEFT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define WEFT_UNROLL _Pragma("GCC unroll 32")
#endif

namespace weft::gemm {
namespace {

constexpr int kWord = 4;  // bytes

// A few lines: the next chunk of A is shared out over all panels of B. Without it products take
// 3 to 7 % longer.
inline void fetch_ahead(const Tile& t) {
  constexpr std::int64_t kLineBytes = 64;
  for (std::int64_t at = 0; at < t.ahead_bytes; at += kLineBytes)
    __builtin_prefetch(static_cast<const char*>(t.ahead) + at);
}

template <class Dot, int mr, int nr, int rows>
[[gnu::noinline]] void tile_rows(const Tile& t) {
  constexpr int kVectors = nr / Dot::kLanes;
  constexpr int kVectorBytes = Dot::kLanes * kWord;
  typename Dot::Acc acc[rows][kVectors];
  const char* acc_in = t.first ? static_cast<const char*>(t.bias) : static_cast<char*>(t.acc);
  const std::int64_t acc_in_stride = t.first ? 0 : t.acc_stride_bytes;
  const char* header = static_cast<const char*>(t.b);
  fetch_ahead(t);
  WEFT_UNROLL
  for (int i = 0; i < rows; ++i) {
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      acc[i][v] =
          acc_in ? Dot::load_acc(acc_in + i * acc_in_stride + v * kVectorBytes) : Dot::zero_acc();
      acc[i][v] = Dot::correct(acc[i][v], header + v * kVectorBytes);
    }
  }

  const char* a = static_cast<const char*>(t.a);
  const char* b = header + Dot::kBHeaderBytes;
  for (std::int64_t p = 0; p < t.k; p += Dot::kStep) {
    typename Dot::Vec bv[kVectors];
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) bv[v] = Dot::load(b + v * kVectorBytes);
    WEFT_UNROLL
    for (int i = 0; i < rows; ++i) {
      const typename Dot::Vec av = Dot::broadcast(a + i * kWord);
      WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[i][v] = Dot::dot(acc[i][v], av, bv[v]);
    }
    a += mr * kWord;
    b += nr * kWord;
  }

  char* out = static_cast<char*>(t.acc);
  WEFT_UNROLL
  for (int i = 0; i < rows; ++i) {
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v)
      Dot::store_acc(out + i * t.acc_stride_bytes + v * kVectorBytes, acc[i][v]);
  }
}

// Computes the rows that matter and no others: with few rows the B panel arrives slower than it is
// used, and rows of zeros would be the difference.
template <class Dot, int mr, int nr, int rows = mr>
void tile(const Tile& t) {
  if constexpr (rows > 1) {
    if (t.m < rows) return tile<Dot, mr, nr, rows - 1>(t);
  }
  tile_rows<Dot, mr, nr, rows>(t);
}

// Packs one vector along k of up to `lanes` rows; `full`: of exactly that many, and all of it.
template <class Source, int lanes, bool full>
[[gnu::always_inline]] inline void pack_chunk(const char* src, std::int64_t stride_bytes, int rows,
                                              int count, char* dst, std::int64_t step_bytes,
                                              typename Source::Vec& header_sum) {
  constexpr int kLanes = Source::kLanes;
  constexpr int kExpand = kWord / (Source::kBytes * Source::kStep);
  const int steps = full ? kLanes * kExpand : (count + Source::kStep - 1) / Source::kStep;
  typename Source::Vec x[kLanes], words[kExpand];
  WEFT_UNROLL
  for (int i = 0; i < kLanes; ++i) {
    if (full ? i < lanes : i < rows)
      x[i] = full ? Source::load(src + i * stride_bytes)
                  : Source::load_part(src + i * stride_bytes, count * Source::kBytes);
    else
      x[i] = Source::zero();
  }
  Source::transpose(x);
  // Several short chains of additions: one would take longer than the transpose.
  typename Source::Vec sum[4] = {Source::zero(), Source::zero(), Source::zero(), Source::zero()};
  WEFT_UNROLL
  for (int i = 0; i < kLanes; ++i) {
    Source::expand(x[i], words);
    WEFT_UNROLL
    for (int e = 0; e < kExpand; ++e) {
      const int s = i * kExpand + e;
      if (full || s < steps) {
        Source::template store_lanes<lanes>(dst + s * step_bytes, words[e]);
        sum[i % 4] = Source::add_header(sum[i % 4], words[e]);
      }
    }
  }
  if constexpr (Source::kHeaderBytes > 0)
    header_sum = Source::add(Source::add(Source::add(sum[0], sum[1]), Source::add(sum[2], sum[3])),
                             header_sum);
}

// Packs up to `width` rows whose elements are adjacent along k. sums: what they add to the header.
// A chunk is a whole vector of a row (a cache line with AVX-512), transposed as it is and widened
// after: rows are often a power of two apart, so their lines push each other out of L1 and must be
// used up at once.
template <class Source, int width>
void pack_rows(const char* src, std::int64_t stride_bytes, int rows, std::int64_t k, char* dst,
               typename Source::Vec* sums) {
  constexpr int kLanes = width < Source::kLanes ? width : Source::kLanes;
  static_assert(width % kLanes == 0);
  constexpr std::int64_t kChunk = Source::kLanes * kWord / Source::kBytes;
  for (std::int64_t p = 0; p < k; p += kChunk) {
    const int count = static_cast<int>(k - p < kChunk ? k - p : kChunk);
    for (int i = 0; i < width; i += kLanes) {
      const char* chunk = src + i * stride_bytes + p * Source::kBytes;
      char* words = dst + p / Source::kStep * (width * kWord) + i * kWord;
      typename Source::Vec& sum = sums[i / kLanes];
      if (rows - i >= kLanes && count == kChunk)
        pack_chunk<Source, kLanes, true>(chunk, stride_bytes, kLanes, count, words, width * kWord,
                                         sum);
      else
        pack_chunk<Source, kLanes, false>(chunk, stride_bytes, rows - i, count, words,
                                          width * kWord, sum);
    }
  }
}

template <class Source, int mr>
void pack_a(const PackA& args) {
  constexpr int kVectors = (mr + Source::kLanes - 1) / Source::kLanes;
  static_assert(Source::kHeaderBytes == 0);
  typename Source::Vec unused[kVectors] = {};
  pack_rows<Source, mr>(static_cast<const char*>(args.src), args.stride_bytes, args.m, args.k,
                        static_cast<char*>(args.dst), unused);
}

template <class Source, int nr>
void pack_bt(const PackB& args) {
  constexpr int kVectors = nr / Source::kLanes;
  const char* src = static_cast<const char*>(args.src);
  char* panel = static_cast<char*>(args.dst);
  for (std::int64_t j = 0; j < args.n; j += nr, panel += args.panel_stride_bytes) {
    const int rows = static_cast<int>(args.n - j < nr ? args.n - j : nr);
    typename Source::Vec sums[kVectors];
    for (int v = 0; v < kVectors; ++v)
      sums[v] = Source::kHeaderBytes > 0 && args.k_begin > 0
                    ? Source::load(panel + v * Source::kLanes * kWord)
                    : Source::zero();
    pack_rows<Source, nr>(
        src + j * args.stride_bytes, args.stride_bytes, rows, args.k,
        panel + Source::kHeaderBytes + args.k_begin / Source::kStep * (nr * kWord), sums);
    if constexpr (Source::kHeaderBytes > 0)
      for (int v = 0; v < kVectors; ++v) Source::store(panel + v * Source::kLanes * kWord, sums[v]);
  }
}

template <class Source, int nr>
void pack_b_columns(const char* row, std::int64_t stride_bytes, int rows, std::int64_t columns,
                    char* step, char* header) {
  constexpr int kLanes = Source::kLanes;
  WEFT_UNROLL
  for (int v = 0; v < nr; v += kLanes) {
    typename Source::Vec x = Source::zero();
    const char* src = row + v * Source::kBytes;
    if (rows == Source::kStep && columns >= v + kLanes)
      x = Source::load_n(src, stride_bytes);
    else if (columns > v)
      x = Source::load_n(src, stride_bytes, rows,
                         static_cast<int>(columns - v < kLanes ? columns - v : kLanes));
    Source::store(step + v * kWord, x);
    if constexpr (Source::kHeaderBytes > 0)
      Source::store(header + v * kWord, Source::add_header(Source::load(header + v * kWord), x));
  }
}

// The hardware prefetcher starts anew in every row, because rows are pages apart. Four steps ahead
// is 30 % faster than without on 16-bit types (8192 columns, from memory); sixteen is no better.
// Past the end of the matrix a prefetch does nothing.
constexpr int kPrefetchSteps = 4;

// Walks whole rows of the strip across all panels: of a wide matrix, one panel's part of a row is
// a single cache line, and going down such a column meets a new page (and DRAM row) at every step.
template <class Source, int nr>
void pack_b(const PackB& args) {
  const char* src = static_cast<const char*>(args.src);
  char* first = static_cast<char*>(args.dst);
  if constexpr (Source::kHeaderBytes > 0) {
    if (args.k_begin == 0) {
      char* panel = first;
      for (std::int64_t j = 0; j < args.n; j += nr, panel += args.panel_stride_bytes)
        for (int v = 0; v < nr; v += Source::kLanes)
          Source::store(panel + v * kWord, Source::zero());
    }
  }
  for (std::int64_t p = 0; p < args.k; p += Source::kStep) {
    const int rows = static_cast<int>(args.k - p < Source::kStep ? args.k - p : Source::kStep);
    const char* row = src + p * args.stride_bytes;
    char* panel = first;
    const std::int64_t step =
        Source::kHeaderBytes + (args.k_begin + p) / Source::kStep * (nr * kWord);
    for (std::int64_t j = 0; j < args.n; j += nr, panel += args.panel_stride_bytes) {
      for (int r = 0; r < Source::kStep; ++r)
        __builtin_prefetch(row + (kPrefetchSteps * Source::kStep + r) * args.stride_bytes +
                           j * Source::kBytes);
      pack_b_columns<Source, nr>(row + j * Source::kBytes, args.stride_bytes, rows, args.n - j,
                                 panel + step, panel);
    }
  }
}

}  // namespace
}  // namespace weft::gemm
