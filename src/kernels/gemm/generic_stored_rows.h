// SPDX-License-Identifier: Apache-2.0
// Weights of whole rows that are stored as integers, for generic_narrow_rows.h: restored to the
// kernel's type while they are made words.
//
// Beyond what generic.h and generic_narrow.h ask of an instruction set:
//
//   Float : Vec  integers<bits>(p)    kLanes adjacent integers of int8 or int4, as fp32
//                smaller(f, g)        the smaller one, lane by lane
//                every(f, predicate)  whether all lanes satisfy it; slow
//                bits(f)              as a Vec
#pragma once

#include "kernels/gemm/generic_narrow.h"

namespace weft::gemm {
namespace {

/// A weight of integers of kBits, to be restored to T, one value a word.
template <class Isa, DType T, int kBits_>
class StoredRows : public Isa {
 public:
  using Vec = typename Isa::Vec;
  using F = typename Isa::F;
  static constexpr bool kRestored = true;
  static constexpr int kStep = 1, kBits = kBits_;

  /// Without and with an offset, if every value is (an integer of few bits) * scale with one
  /// rounding; or rounded by the letter.
  enum class Way { kProduct, kSum, kExact };
  static constexpr Way kWays[] = {Way::kProduct, Way::kSum, Way::kExact};
  /// For the whole strip. False: the tile kernel has to do it.
  static bool choose(const Narrow& p, Way& way) {
    Vec scales = Isa::zero(), offsets = scales, fractions = scales;  // the largest magnitudes
    F least = Isa::broadcast_float(kMostFast);
    for_each_scale<Isa, T>(p, [&](F scale, F offset) {
      scales = Isa::most(scales, Isa::magnitude(scale));
      least = Isa::smaller(least, scale);
      offsets = Isa::most(offsets, Isa::magnitude(offset));
      fractions = Isa::most(fractions, Isa::magnitude(Isa::fraction(offset)));
    });
    const int scale = Isa::most_lane(scales), offset = Isa::most_lane(offsets);
    const bool few_bits = Isa::most_lane(fractions) == 0 && offset <= bits_of(896);
    const bool fast = few_bits && scale <= bits_of(kMostFast) &&
                      Isa::every(least, [](float x) { return x >= kLeastFast; });
    way = !fast ? Way::kExact : p.offset ? Way::kSum : Way::kProduct;
    return scale <= bits_of(kMostFinite) && offset <= bits_of(kMostOffset<T>);
  }
  /// For a group, the columns from `column` on, and so many rows.
  void prepare(const Narrow& p, std::int64_t group, int column, int) {
    scale_ = scale_row<Isa, T>(p, p.scale, group, column);
    offset_ = scale_row<Isa, T>(p, p.offset, group, column);
    constexpr float kDropped = T == DType::kFloat16 ? 1 << 13 : 1 << 16;
    sum_ = Isa::mul(scale_, Isa::broadcast_float(kDropped + 1));
    rest_ = Isa::mul(scale_, Isa::broadcast_float(-kDropped));
  }
  template <Way kWay>
  Vec word(const char* w, std::int64_t) const {
    F x = Isa::template integers<kBits>(w);
    if constexpr (kWay != Way::kProduct) x = Isa::add(x, offset_);
    if constexpr (kWay == Way::kExact) {
      if constexpr (T == DType::kFloat16) x = Isa::as_float(Isa::template round<T>(x));
      return Isa::template round<T>(Isa::mul(x, scale_));
    }
    // x * scale + 2^b x * scale, rounded to fp32, loses the b lowest bits of x * scale, ties to
    // even; what is added to it is exact.
    return Isa::bits(Isa::fma(x, rest_, Isa::mul(x, sum_)));
  }

 private:
  // Products of scales between these and integers up to 1024 neither overflow nor are subnormal.
  static constexpr float kLeastFast = T == DType::kFloat16 ? 0x1p-14f : 0x1p-90f;
  static constexpr float kMostFast = T == DType::kFloat16 ? 0x1p5f : 0x1p90f;

  F scale_, offset_, sum_, rest_;
};

}  // namespace
}  // namespace weft::gemm
