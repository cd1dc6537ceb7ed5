// SPDX-License-Identifier: Apache-2.0
// The narrow form of the kernels of generic.h. A piece of every column of the weight is transposed
// in registers, so that each lane is a column, and then multiplied word by word as in the tile
// kernel, in the same order. Nothing of the weight is written but pieces that stay in L1. Weights
// stored as int8 or int4 are restored after the transposition: scales are vectors then.
//
// Beyond what generic.h asks of an instruction set:
//
//   Vec          transpose4(src, stride, x)   16 bytes of kLanes columns -> the four dwords of each
//   Float : Vec  F                            lanes of fp32: to_float(), bits(), mul(), fma()
//                load_wide<T>(p, n)           n values of T, the rest zero; broadcast_wide<T>(p)
//                round<T>(f)                  to T and back; no nan
//                field<begin, bits>(x)        those bits of each lane at the top, zeros below
//                pair(x, y)                   two rounded bfloat16 in a word: y above x
//                every(f, predicate)          whether all lanes satisfy it; slow
#pragma once

#include "kernels/gemm/generic.h"

namespace weft::gemm {
namespace {

constexpr int kNarrowRows = 16;  // of x at most
constexpr int kPieceBytes = 16;  // of a column
constexpr int kPieceDwords = kPieceBytes / kWord;
constexpr int kLineBytes = 64;
constexpr int kPieces = kLineBytes / kPieceBytes;

inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// Columns of a weight in the kernel's own type.
template <class Source>
struct Plain : Source {
  using Vec = typename Source::Vec;
  static constexpr bool kRestored = false;
  static constexpr int kPerDword = kWord / Source::kBytes;  // elements
  static constexpr int kWords = kPerDword / Source::kStep;  // that a dword becomes

  enum class Way { kOnly };
  static constexpr Way kWays[] = {Way::kOnly};
  Way way() const { return Way::kOnly; }
  bool prepare(const Narrow&, std::int64_t, int) { return true; }
  /// What a dword of each column becomes.
  template <Way>
  void words(Vec dword, Vec (&out)[kWords]) const {
    Source::expand(dword, out);
  }
};

/// A row of scales or offsets, widened, for kLanes columns from `column` on; zero where base is
/// null.
template <class Isa, DType T>
inline typename Isa::F scale_row(const Narrow& p, const void* base, std::int64_t group,
                                 int column) {
  if (!base) return Isa::broadcast_float(0);
  const char* row = static_cast<const char*>(base) + 2 * group * p.group_stride;
  if (p.scale_step == 0) return Isa::template broadcast_wide<T>(row);
  const std::int64_t left = p.n - column;
  return Isa::template load_wide<T>(row + 2 * column, static_cast<int>(least(left, Isa::kLanes)));
}
inline bool is_finite(float x) { return x >= -3.39e38f && x <= 3.39e38f; }

/// Columns stored as integers of kBits, to be restored to T; kStep_ values of T make a word.
template <class Isa, DType T, int kBits, int kStep_>
class Stored : public Isa {
 public:
  using Vec = typename Isa::Vec;
  using F = typename Isa::F;
  static constexpr bool kRestored = true;
  static constexpr int kStep = kStep_;
  static constexpr int kPerDword = 32 / kBits;
  static constexpr int kWords = kPerDword / kStep;

  /// For a group and the columns from `column` on. False: the tile kernel has to do it.
  bool prepare(const Narrow& p, std::int64_t group, int column) {
    scale_ = scale_row<Isa, T>(p, p.scale, group, column);
    offset_ = scale_row<Isa, T>(p, p.offset, group, column);
    scaled_down_ = Isa::mul(scale_, Isa::broadcast_float(kUnit));
    way_ = choose_way(p.offset != nullptr);
    // An offset that makes a float16 sum overflow could make a nan, and those have many bits.
    constexpr float kMost = T == DType::kFloat16 ? 60000 : 3.39e38f;
    return Isa::every(scale_, is_finite) &&
           Isa::every(offset_, [](float o) { return o >= -kMost && o <= kMost; });
  }

  /// The integers are converted where they are exact without a shift: at the top of the dword. What
  /// brings them down again is part of the scale (kScaled) or of the sum with the offset, which
  /// needs no rounding to T (kExactSum) or does. Each way is right wherever one before it is.
  enum class Way { kScaled, kExactSum, kRoundedSum };
  static constexpr Way kWays[] = {Way::kScaled, Way::kExactSum, Way::kRoundedSum};
  Way way() const { return way_; }

  template <Way kWay>
  void words(Vec dword, Vec (&out)[kWords]) const {
    restore<kWay, 0>(dword, out);
  }

 private:
  static constexpr float kUnit = 1.0f / (1u << (32 - kBits));

  Way choose_way(bool has_offset) const {
    // The smallest bfloat16 scales cannot be scaled down.
    if (!has_offset && (T == DType::kFloat16 || Isa::every(scale_, [](float s) {
                          return s == 0 || s >= 0x1p-90f || s <= -0x1p-90f;
                        })))
      return Way::kScaled;
    // Sums in bfloat16 are not rounded; those of float16 need not be if all have few bits.
    if (T == DType::kBFloat16 || Isa::every(offset_, [](float o) {
          return o >= -896 && o <= 896 && o == static_cast<float>(static_cast<int>(o));
        }))
      return Way::kExactSum;
    return Way::kRoundedSum;
  }

  template <Way kWay, int kWord>
  void restore(Vec raw, Vec (&out)[kWords]) const {
    if constexpr (kWord < kWords) {
      if constexpr (kStep == 1)
        out[kWord] = value<kWay, kWord>(raw);
      else
        out[kWord] = Isa::pair(value<kWay, 2 * kWord>(raw), value<kWay, 2 * kWord + 1>(raw));
      restore<kWay, kWord + 1>(raw, out);
    }
  }
  template <Way kWay, int kIndex>
  Vec value(Vec raw) const {
    const F w = Isa::to_float(Isa::template field<kIndex * kBits, kBits>(raw));
    if constexpr (kWay == Way::kScaled) return Isa::template round<T>(Isa::mul(w, scaled_down_));
    F sum = Isa::fma(w, Isa::broadcast_float(kUnit), offset_);
    if constexpr (kWay == Way::kRoundedSum) sum = Isa::as_float(Isa::template round<T>(sum));
    return Isa::template round<T>(Isa::mul(sum, scale_));
  }

  F scale_, offset_, scaled_down_;
  Way way_;
};

/// What to fetch beside every column of a block of lines: the next columns in the order of their
/// addresses, if they are few pages; else, and where that has not been done, what comes soon in the
/// column.
struct Fetch {
  const char* at;
  std::int64_t stride;
};
inline Fetch fetch_beside(const Narrow& p, const char* w, int columns, std::int64_t done,
                          std::int64_t row_bytes) {
  constexpr std::int64_t kAheadBytes = 512, kLinearBytes = 64 << 10;
  const bool first = p.first && w == p.w;
  if (!first && p.stride_bytes == row_bytes && columns * row_bytes <= kLinearBytes)
    return {w + columns * (row_bytes + done), kLineBytes};
  if (done + kAheadBytes < row_bytes) return {w + done + kAheadBytes, p.stride_bytes};
  return {w + done + kAheadBytes - row_bytes + columns * p.stride_bytes, p.stride_bytes};
}

/// Lines of columns, side by side and zero beyond the valid ones: in place they may share few sets
/// of L1, and each is needed for a while.
template <class Isa, int columns>
struct Lines {
  char of[columns][kLineBytes];

  /// Some of the columns of the block that begins `done` bytes from w.
  void copy(const Narrow& p, const char* w, int valid, std::int64_t done, std::int64_t row_bytes,
            int begin, int end) {
    constexpr int kBytes = Isa::kLanes * kWord;
    const int bytes = static_cast<int>(least(row_bytes - done, kLineBytes));
    const Fetch fetch = fetch_beside(p, w, columns, done, row_bytes);
#pragma GCC unroll 2
    for (int j = begin; j < end; ++j) {
      __builtin_prefetch(fetch.at + j * fetch.stride, 0, 2);
      const char* from = w + j * p.stride_bytes + done;
      WEFT_UNROLL
      for (int b = 0; b < kLineBytes; b += kBytes) {
        const int count = bytes - b < kBytes ? bytes - b : kBytes;
        if (j < valid && count == kBytes)
          Isa::store(of[j] + b, Isa::load(from + b));
        else
          Isa::store(of[j] + b,
                     j < valid && count > 0 ? Isa::load_part(from + b, count) : Isa::zero());
      }
    }
  }
};

/// vectors * kLanes columns from `column` on, with `rows` rows of x, of which the first m matter.
template <class Dot, class Weights, int rows, int vectors>
[[gnu::noinline]] bool narrow_tile(const Narrow& p, int column) {
  using Vec = typename Dot::Vec;
  constexpr int kLanes = Dot::kLanes, kVectorBytes = kLanes * kWord, kColumns = vectors * kLanes;
  constexpr int kWords = Weights::kWords, kPieceSteps = kPieceDwords * kWords;
  const char* w = static_cast<const char*>(p.w) + column * p.stride_bytes;
  const char* x = static_cast<const char*>(p.x);
  const std::int64_t row_bytes = (p.k * kWord + Weights::kPerDword - 1) / Weights::kPerDword;

  typename Dot::Acc acc[rows][vectors];
  Vec sum[vectors];
  WEFT_UNROLL
  for (int v = 0; v < vectors; ++v) {
    const char* bias = static_cast<const char*>(p.bias) + column * kWord + v * kVectorBytes;
    sum[v] = Dot::zero();
    WEFT_UNROLL
    for (int i = 0; i < rows; ++i) acc[i][v] = p.bias ? Dot::load_acc(bias) : Dot::zero_acc();
  }

  Weights weights[vectors] = {};
  typename Weights::Way way{};
  std::int64_t steps = (p.k + Weights::kStep - 1) / Weights::kStep;
  std::int64_t group = 0, group_end = 0;
  // A quarter of the next block is copied beside each piece of this one: evenly, because bursts of
  // loads and fetches take the fill buffers of each other.
  constexpr int kQuarter = kColumns / kPieces;
  alignas(kLineBytes) Lines<Dot, kColumns> blocks[2];
  const int valid = p.n - column;
  blocks[0].copy(p, w, valid, 0, row_bytes, 0, kColumns);
  int now = 0;
  for (std::int64_t done = 0; done < row_bytes; done += kLineBytes, now ^= 1) {
    const char* lines = blocks[now].of[0];
    const std::int64_t next = done + kLineBytes;
    const int pieces = static_cast<int>(least(kPieces, (steps + kPieceSteps - 1) / kPieceSteps));
#pragma GCC unroll 1
    for (int piece = 0; piece < pieces; ++piece) {
      if (next < row_bytes)
        blocks[now ^ 1].copy(p, w, valid, next, row_bytes, piece * kQuarter,
                             (piece + 1) * kQuarter);
      if (Weights::kRestored &&
          (done / kPieceBytes + piece) * kPieceDwords * Weights::kPerDword == group_end) {
        way = {};
        for (int v = 0; v < vectors; ++v) {
          if (!weights[v].prepare(p, group, column + v * kLanes)) return false;
          if (way < weights[v].way()) way = weights[v].way();
        }
        ++group;
        group_end += p.group_size;
      }
      Vec dwords[vectors][kPieceDwords];
      WEFT_UNROLL
      for (int v = 0; v < vectors; ++v)
        Dot::transpose4(lines + v * kLanes * kLineBytes + piece * kPieceBytes, kLineBytes,
                        dwords[v]);
      const auto multiply = [&]<auto kWay>() {
        const int count = static_cast<int>(least(kPieceDwords, (steps + kWords - 1) / kWords));
#pragma GCC unroll 1
        for (int d = 0; d < count; ++d) {
          Vec words[vectors][kWords];
          WEFT_UNROLL
          for (int v = 0; v < vectors; ++v) weights[v].template words<kWay>(dwords[v][d], words[v]);
          // Weights beyond an odd k would meet zeros of x, but that is not enough for the sign of a
          // sum that is zero.
          if constexpr (Weights::kRestored && Weights::kStep == 2) {
            if (steps <= kWords && p.k % 2 != 0) {
              WEFT_UNROLL
              for (int v = 0; v < vectors; ++v) WEFT_UNROLL
              for (int e = 0; e < kWords; ++e)
                if (e == steps - 1) words[v][e] = Dot::lower_half(words[v][e]);
            }
          }
          WEFT_UNROLL
          for (int e = 0; e < kWords; ++e) {
            if (e > 0 && steps == e) break;
            WEFT_UNROLL
            for (int v = 0; v < vectors; ++v) sum[v] = Weights::add_header(sum[v], words[v][e]);
            WEFT_UNROLL
            for (int i = 0; i < rows; ++i) {
              const Vec xv = Dot::broadcast(x + i * kWord);
              WEFT_UNROLL
              for (int v = 0; v < vectors; ++v) acc[i][v] = Dot::dot(acc[i][v], xv, words[v][e]);
            }
            x += rows * kWord;
          }
          steps -= kWords;
        }
      };
      if constexpr (!Weights::kRestored) {
        multiply.template operator()<Weights::kWays[0]>();
      } else {
        if (way == Weights::kWays[0])
          multiply.template operator()<Weights::kWays[0]>();
        else if (way == Weights::kWays[1])
          multiply.template operator()<Weights::kWays[1]>();
        else
          multiply.template operator()<Weights::kWays[2]>();
      }
    }
  }

  char* out = static_cast<char*>(p.acc) + column * kWord;
  char header[vectors * kVectorBytes];
  WEFT_UNROLL
  for (int v = 0; v < vectors; ++v) Dot::store(header + v * kVectorBytes, sum[v]);
  WEFT_UNROLL
  for (int i = 0; i < rows; ++i) {
    if (i >= p.m) break;
    WEFT_UNROLL
    for (int v = 0; v < vectors; ++v)
      Dot::store_acc(out + i * p.acc_stride_bytes + v * kVectorBytes,
                     Dot::correct(acc[i][v], header + v * kVectorBytes));
  }
  return true;
}

/// How many rows are multiplied together: the first of these that is enough for m.
template <int... rows>
struct RowCounts {
  static constexpr int kMost = (rows, ...);
  /// f<rows>() with that count.
  template <class F>
  static auto with(int m, F f) {
    return with_one_of<F, rows...>(m, f);
  }

 private:
  template <class F, int first, int... others>
  static auto with_one_of(int m, F f) {
    if constexpr (sizeof...(others) > 0) {
      if (m > first) return with_one_of<F, others...>(m, f);
    }
    return f.template operator()<first>();
  }
};

/// kMostSums: vectors of sums that leave enough registers for the rest.
template <class Dot, class Weights, class Counts, int nr, int kMostSums>
bool narrow(const Narrow& p) {
  return Counts::with(p.m, [&]<int rows>() {
    constexpr int kVectors = nr / Dot::kLanes * rows <= kMostSums ? nr / Dot::kLanes : 1;
    for (int column = 0; column < p.n; column += kVectors * Dot::kLanes)
      if (!narrow_tile<Dot, Weights, rows, kVectors>(p, column)) return false;
    return true;
  });
}

/// Packs m rows of x for narrow(): the words of every step together.
template <class Source, class Counts>
void pack_x(const PackA& args) {
  Counts::with(args.m, [&]<int rows>() { pack_a<Source, rows>(args); });
}

}  // namespace
}  // namespace weft::gemm
