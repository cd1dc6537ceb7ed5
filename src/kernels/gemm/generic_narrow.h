// SPDX-License-Identifier: Apache-2.0
// What the narrow forms of the kernels of generic.h share. Along k (gemm.h) there are two: of few
// rows pieces of the columns are transposed (generic_narrow_pieces.h), and of as many as a vector
// has lanes nothing is (generic_narrow_lanes.h). Nothing of the weight is written but what stays in
// L1. Weights stored as int8 or int4 are restored on the way.
//
// Beyond what generic.h asks of an instruction set:
//
//   Float : Vec  F                            lanes of fp32: to_float(), mul(), add(), fma()
//                load_wide<T>(p, n)           n values of T, the rest zero; broadcast_wide<T>(p)
//                round<T>(f)                  to T and back; no nan
//                round_normal<T>(f)           the same for zero and what is normal before and after
//                field<begin, bits>(x)        those bits of each lane at the top, zeros below
//                pair(x, y)                   two rounded bfloat16 in a word: y above x
//                none_or_between(f, a, b)     whether every lane is +0, or positive and in [a, b]
//                magnitude(f)                 its bits without the sign: inf and nan are above all
//                most(x, y), most_lane(x)     the larger of two such in each lane; the largest lane
//                fraction(f)                  what rounding to an integer takes off
#pragma once

#include "kernels/gemm/generic.h"

namespace weft::gemm {
namespace {

constexpr int kPieceBytes = 16;  // of a column
constexpr int kPieceDwords = kPieceBytes / kWord;
constexpr int kLineBytes = 64;

inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// A weight in the kernel's own type: words are made in one way, and nothing has to be known first.
template <class Source>
struct Unrestored : Source {
  static constexpr bool kRestored = false;
  static constexpr int kBits = 8 * Source::kBytes;  // of an element

  enum class Way { kOnly };
  static constexpr Way kWays[] = {Way::kOnly};
  static bool choose(const Narrow&, Way&) { return true; }
  template <class... Where>
  void prepare(const Narrow&, Where...) {}
};

/// Columns of a weight in the kernel's own type.
template <class Source>
struct Plain : Unrestored<Source> {
  using Vec = typename Source::Vec;
  using typename Unrestored<Source>::Way;
  static constexpr int kPerDword = kWord / Source::kBytes;  // elements
  static constexpr int kWords = kPerDword / Source::kStep;  // that a dword becomes

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

/// look(scale, offset) for all that p has, kLanes columns at a time, some twice; zeros where there
/// are fewer columns and for no offset.
template <class Isa, DType T, class Look>
void for_each_scale(const Narrow& p, Look look) {
  const int columns = p.scale_step ? p.n : 1;
  for (std::int64_t k = 0, group = 0; k < p.k; k += p.group_size, ++group)
    for (int column = 0; column < columns; column += Isa::kLanes) {
      const int from =
          columns < Isa::kLanes ? 0 : static_cast<int>(least(column, columns - Isa::kLanes));
      look(scale_row<Isa, T>(p, p.scale, group, from), scale_row<Isa, T>(p, p.offset, group, from));
    }
}
// The bits of positive numbers are in their order, those of inf and nan above them.
inline int bits_of(float x) { return __builtin_bit_cast(int, x); }
constexpr float kMostFinite = 3.39e38f;  // no number of either type is larger
/// An offset that makes a float16 sum overflow could make a nan, and those have many bits.
template <DType T>
constexpr float kMostOffset = T == DType::kFloat16 ? 60000 : kMostFinite;

/// How integers are restored to T. kScaled: there is no offset, and products may be scaled by a
/// power of two and rounded as if exponents had no end. kExactSum: the sum of an integer and its
/// offset needs no rounding to T; kRoundedSum: it does. Each is right wherever one before it is.
enum class Restoring { kScaled, kExactSum, kRoundedSum };

/// The way for all columns of p. False: the tile kernel has to do it.
template <class Isa, DType T>
bool choose_restoring(const Narrow& p, Restoring& way) {
  using F = typename Isa::F;
  // Of |scale|; products with 1..128 are normal numbers of T between them.
  constexpr float kLeast = T == DType::kFloat16 ? 0x1p-14f : 0x1p-90f;
  constexpr float kMost = T == DType::kFloat16 ? 500 : 0x1p90f;
  typename Isa::Vec scales = Isa::zero(), offsets = scales, fractions = scales;  // magnitudes
  bool scaled = !p.offset;
  for_each_scale<Isa, T>(p, [&](F scale, F offset) {
    scales = Isa::most(scales, Isa::magnitude(scale));
    scaled = scaled && Isa::none_or_between(scale, kLeast, kMost);
    if (!p.offset) return;
    offsets = Isa::most(offsets, Isa::magnitude(offset));
    fractions = Isa::most(fractions, Isa::magnitude(Isa::fraction(offset)));
  });
  const int offset = Isa::most_lane(offsets);
  // Sums in bfloat16 are not rounded; those of float16 need not be if all have few bits.
  const bool few_bits = Isa::most_lane(fractions) == 0 && offset <= bits_of(896);
  way = scaled                              ? Restoring::kScaled
        : T == DType::kBFloat16 || few_bits ? Restoring::kExactSum
                                            : Restoring::kRoundedSum;
  return Isa::most_lane(scales) <= bits_of(kMostFinite) && offset <= bits_of(kMostOffset<T>);
}

/// A weight of integers that are restored along k.
template <class Isa, DType T>
struct Restored : Isa {
  static constexpr bool kRestored = true;
  using Way = Restoring;
  static constexpr Way kWays[] = {Way::kScaled, Way::kExactSum, Way::kRoundedSum};
  static bool choose(const Narrow& p, Way& way) { return choose_restoring<Isa, T>(p, way); }
};

/// Columns stored as integers of kBits, to be restored to T; kStep_ values of T make a word.
template <class Isa, DType T, int kBits, int kStep_>
class Stored : public Restored<Isa, T> {
 public:
  using Vec = typename Isa::Vec;
  using F = typename Isa::F;
  using Way = Restoring;
  static constexpr int kStep = kStep_;
  static constexpr int kPerDword = 32 / kBits;
  static constexpr int kWords = kPerDword / kStep;

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

/// Packs m rows of x: the words of every step together.
template <class Source, class Counts>
void pack_x(const PackA& args) {
  Counts::with(args.m, [&]<int rows>() { pack_a<Source, rows>(args); });
}

}  // namespace
}  // namespace weft::gemm
