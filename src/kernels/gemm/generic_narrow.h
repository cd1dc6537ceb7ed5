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
constexpr int kTileColumns = 32;

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
  static bool choose(const Narrow&, Way&) { return true; }
  void prepare(const Narrow&, std::int64_t, int) {}
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
/// The one for a column, in every lane.
template <class Isa, DType T>
inline typename Isa::F scale_of(const Narrow& p, const void* base, std::int64_t group, int column) {
  if (!base) return Isa::broadcast_float(0);
  return Isa::template broadcast_wide<T>(static_cast<const char*>(base) +
                                         2 * (group * p.group_stride + column * p.scale_step));
}

/// How integers are restored to T. kScaled: there is no offset, and products may be scaled by a
/// power of two and rounded as if exponents had no end. kExactSum: the sum of an integer and its
/// offset needs no rounding to T; kRoundedSum: it does. Each is right wherever one before it is.
enum class Restoring { kScaled, kExactSum, kRoundedSum };

/// The way for all columns of p. False: the tile kernel has to do it.
template <class Isa, DType T>
bool choose_restoring(const Narrow& p, Restoring& way) {
  // The bits of positive numbers are in their order, those of inf and nan above them.
  const auto bits = [](float x) { return __builtin_bit_cast(int, x); };
  // Of |scale|; products with 1..128 are normal numbers of T between them.
  constexpr float kLeast = T == DType::kFloat16 ? 0x1p-14f : 0x1p-90f;
  constexpr float kMost = T == DType::kFloat16 ? 500 : 0x1p90f;
  typename Isa::Vec scales = Isa::zero(), offsets = scales, fractions = scales;  // magnitudes
  bool scaled = !p.offset;
  const int columns = p.scale_step ? p.n : 1;
  for (std::int64_t k = 0, group = 0; k < p.k; k += p.group_size, ++group)
    for (int column = 0; column < columns; column += Isa::kLanes) {
      const auto scale = scale_row<Isa, T>(p, p.scale, group, column);
      scales = Isa::most(scales, Isa::magnitude(scale));
      scaled = scaled && Isa::none_or_between(scale, kLeast, kMost);
      if (!p.offset) continue;
      const auto offset = scale_row<Isa, T>(p, p.offset, group, column);
      offsets = Isa::most(offsets, Isa::magnitude(offset));
      fractions = Isa::most(fractions, Isa::magnitude(Isa::fraction(offset)));
    }
  const int offset = Isa::most_lane(offsets);
  // Sums in bfloat16 are not rounded; those of float16 need not be if all have few bits.
  const bool few_bits = Isa::most_lane(fractions) == 0 && offset <= bits(896);
  way = scaled                              ? Restoring::kScaled
        : T == DType::kBFloat16 || few_bits ? Restoring::kExactSum
                                            : Restoring::kRoundedSum;
  // An offset that makes a float16 sum overflow could make a nan, and those have many bits.
  constexpr float kMostFinite = 3.39e38f;
  constexpr float kMostOffset = T == DType::kFloat16 ? 60000 : kMostFinite;
  return Isa::most_lane(scales) <= bits(kMostFinite) && offset <= bits(kMostOffset);
}

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

  using Way = Restoring;
  static constexpr Way kWays[] = {Way::kScaled, Way::kExactSum, Way::kRoundedSum};
  static bool choose(const Narrow& p, Way& way) { return choose_restoring<Isa, T>(p, way); }

  /// For a group and the columns from `column` on.
  void prepare(const Narrow& p, std::int64_t group, int column) {
    scale_ = scale_row<Isa, T>(p, p.scale, group, column);
    offset_ = scale_row<Isa, T>(p, p.offset, group, column);
    scaled_down_ = Isa::mul(scale_, Isa::broadcast_float(kUnit));
  }

  /// The integers are converted where they are exact without a shift: at the top of the dword. What
  /// brings them down again is part of the scale (kScaled) or of the sum with the offset.
  template <Way kWay>
  void words(Vec dword, Vec (&out)[kWords]) const {
    restore<kWay, 0>(dword, out);
  }

 private:
  static constexpr float kUnit = 1.0f / (1u << (32 - kBits));

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
    if constexpr (kWay == Way::kScaled)
      return Isa::template round_normal<T>(Isa::mul(w, scaled_down_));
    F sum = Isa::fma(w, Isa::broadcast_float(kUnit), offset_);
    if constexpr (kWay == Way::kRoundedSum && T == DType::kFloat16)
      sum = Isa::as_float(Isa::template round<T>(sum));
    return Isa::template round<T>(Isa::mul(sum, scale_));
  }

  F scale_, offset_, scaled_down_;
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

/// The product of some columns, a few vectors of them at a time; `rows` of x are packed together.
template <class Dot, class Weights, typename Weights::Way kWay, int rows>
class TransposedPieces {
 public:
  explicit TransposedPieces(const Narrow& p) : p_(p) {}

  [[gnu::noinline]] void run() {
    for (int column = 0; column < p_.n; column += kColumns) {
      valid_ = static_cast<int>(least(p_.n - column, kColumns));
      groups_ = (valid_ + kGroup - 1) / kGroup;
      begin(column);
      multiply(column);
      finish(column);
    }
  }

 private:
  using Vec = typename Dot::Vec;
  static constexpr int kLanes = Dot::kLanes, kVectorBytes = kLanes * kWord;
  // Two vectors share what is loaded of x, and those of a tile are enough independent sums.
  static constexpr int kVectors = 2, kGroup = kVectors * kLanes, kGroups = kTileColumns / kGroup;
  static constexpr int kColumns = kTileColumns;
  static constexpr int kWords = Weights::kWords, kPieceSteps = kPieceDwords * kWords;

  void begin(int column) {
    for (int g = 0; g < groups_; ++g)
      for (int v = 0; v < kVectors; ++v) {
        const int at = g * kGroup + v * kLanes;
        const char* bias = static_cast<const char*>(p_.bias) + (column + at) * kWord;
        const Vec first = p_.bias && at < valid_ ? Dot::load(bias) : Dot::zero();
        for (int i = 0; i < rows; ++i) Dot::store(acc_[g][i][v], first);
        if constexpr (Weights::kHeaderBytes > 0) sums_[g][v] = Dot::zero();
      }
  }

  void multiply(int column) {
    const char* w = static_cast<const char*>(p_.w) + column * p_.stride_bytes;
    const char* x = static_cast<const char*>(p_.x);
    const std::int64_t row_bytes = (p_.k * kWord + Weights::kPerDword - 1) / Weights::kPerDword;
    std::int64_t steps = (p_.k + Weights::kStep - 1) / Weights::kStep, group = 0, group_end = 0;
    // A quarter of the next block is copied beside each piece of this one: evenly, because bursts
    // of loads and fetches take the fill buffers of each other.
    constexpr int kQuarter = kColumns / kPieces;
    blocks_[0].copy(p_, w, valid_, 0, row_bytes, 0, kColumns);
    int now = 0;
    for (std::int64_t done = 0; done < row_bytes; done += kLineBytes, now ^= 1) {
      const std::int64_t next = done + kLineBytes;
      for (int piece = 0; piece < kPieces && steps > 0; ++piece, steps -= kPieceSteps) {
        if (next < row_bytes)
          blocks_[now ^ 1].copy(p_, w, valid_, next, row_bytes, piece * kQuarter,
                                (piece + 1) * kQuarter);
        if (Weights::kRestored &&
            (done / kPieceBytes + piece) * kPieceDwords * Weights::kPerDword == group_end) {
          for (int g = 0; g < groups_; ++g)
            for (int v = 0; v < kVectors; ++v)
              weights_[g][v].prepare(p_, group, column + g * kGroup + v * kLanes);
          ++group;
          group_end += p_.group_size;
        }
        const char* lines = blocks_[now].of[0] + piece * kPieceBytes;
        if (steps >= kPieceSteps)
          for (int g = 0; g < groups_; ++g) multiply_piece<true>(g, lines, x, kPieceSteps);
        else
          for (int g = 0; g < groups_; ++g)
            multiply_piece<false>(g, lines, x, static_cast<int>(steps));
        x += kPieceSteps * rows * kWord;
      }
    }
  }

  template <bool full>
  [[gnu::noinline]] void multiply_piece(int g, const char* lines, const char* x, int steps) {
    typename Dot::Acc acc[rows][kVectors];
    WEFT_UNROLL
    for (int i = 0; i < rows; ++i) WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[i][v] = Dot::load_acc(acc_[g][i][v]);
    Vec dwords[kVectors][kPieceDwords];
    WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v)
      Dot::transpose4(lines + (g * kGroup + v * kLanes) * kLineBytes, kLineBytes, dwords[v]);
    const auto dword = [&](int d) {
      Vec words[kVectors][kWords];
      WEFT_UNROLL
      for (int v = 0; v < kVectors; ++v)
        weights_[g][v].template words<kWay>(dwords[v][d], words[v]);
      // Weights beyond an odd k would meet zeros of x, but that is not enough for the sign of a
      // sum that is zero.
      if constexpr (!full && Weights::kRestored && Weights::kStep == 2) {
        if (p_.k % 2 != 0) {
          WEFT_UNROLL
          for (int v = 0; v < kVectors; ++v) WEFT_UNROLL
          for (int e = 0; e < kWords; ++e)
            if (d * kWords + e == steps - 1) words[v][e] = Dot::lower_half(words[v][e]);
        }
      }
      WEFT_UNROLL
      for (int e = 0; e < kWords; ++e) {
        if (!full && d * kWords + e >= steps) break;
        if constexpr (Weights::kHeaderBytes > 0) {
          WEFT_UNROLL
          for (int v = 0; v < kVectors; ++v)
            sums_[g][v] = Weights::add_header(sums_[g][v], words[v][e]);
        }
        WEFT_UNROLL
        for (int i = 0; i < rows; ++i) {
          const Vec xv = Dot::broadcast(x + ((d * kWords + e) * rows + i) * kWord);
          WEFT_UNROLL
          for (int v = 0; v < kVectors; ++v) acc[i][v] = Dot::dot(acc[i][v], xv, words[v][e]);
        }
      }
    };
    if constexpr (full && kWords <= 2) {
      WEFT_UNROLL
      for (int d = 0; d < kPieceDwords; ++d) dword(d);
    } else {
#pragma GCC unroll 1
      for (int d = 0; d < kPieceDwords && d * kWords < steps; ++d) dword(d);
    }
    WEFT_UNROLL
    for (int i = 0; i < rows; ++i) WEFT_UNROLL
    for (int v = 0; v < kVectors; ++v) Dot::store_acc(acc_[g][i][v], acc[i][v]);
  }

  void finish(int column) {
    for (int g = 0; g < groups_; ++g) {
      char* out = static_cast<char*>(p_.acc) + (column + g * kGroup) * kWord;
      char header[kVectors][kVectorBytes];
      if constexpr (Weights::kHeaderBytes > 0)
        for (int v = 0; v < kVectors; ++v) Dot::store(header[v], sums_[g][v]);
      for (int i = 0; i < p_.m; ++i)
        for (int v = 0; v < kVectors; ++v)
          Dot::store_acc(out + i * p_.acc_stride_bytes + v * kVectorBytes,
                         Dot::correct(Dot::load_acc(acc_[g][i][v]), header[v]));
    }
  }

  const Narrow& p_;
  int valid_ = 0, groups_ = 0;
  alignas(64) Lines<Dot, kColumns> blocks_[2];
  alignas(64) char acc_[kGroups][rows][kVectors][kVectorBytes];
  Weights weights_[kGroups][kVectors] = {};
  Vec sums_[kGroups][kVectors];
};

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

/// Product(p).run(), where Product<kWay> has the way that Weights choose. False: nothing was done.
template <class Weights, template <typename Weights::Way> class Product>
bool run_chosen(const Narrow& p) {
  typename Weights::Way way{};
  if (!Weights::choose(p, way)) return false;
  if constexpr (!Weights::kRestored) {
    Product<Weights::kWays[0]>(p).run();
  } else {
    if (way == Weights::kWays[0])
      Product<Weights::kWays[0]>(p).run();
    else if (way == Weights::kWays[1])
      Product<Weights::kWays[1]>(p).run();
    else
      Product<Weights::kWays[2]>(p).run();
  }
  return true;
}

template <class Dot, class Weights, int rows>
struct NarrowPieces {
  template <typename Weights::Way kWay>
  using Product = TransposedPieces<Dot, Weights, kWay, rows>;
};
template <class Dot, class Weights, int rows>
bool narrow_pieces(const Narrow& p) {
  return run_chosen<Weights, NarrowPieces<Dot, Weights, rows>::template Product>(p);
}

/// Packs m rows of x for narrow(): the words of every step together.
template <class Source, class Counts>
void pack_x(const PackA& args) {
  Counts::with(args.m, [&]<int rows>() { pack_a<Source, rows>(args); });
}

}  // namespace
}  // namespace weft::gemm
