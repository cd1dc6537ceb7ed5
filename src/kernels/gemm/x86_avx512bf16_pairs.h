// SPDX-License-Identifier: Apache-2.0
// Restored weights for vdpbf16ps: pairs of values, made words at once by vcvtne2ps2bf16.
#pragma once

#include "kernels/gemm/generic_narrow.h"
#include "kernels/gemm/x86_avx512bf16.h"

namespace weft::gemm {
namespace {

/// Restored values as words: two adjacent lanes make one, those of x come first.
struct Bf16Words : ZmmFloat {
  /// The instruction flushes subnormals.
  static Vec normal(F x, F y) { return (Vec)_mm512_cvtne2ps_pbh(y, x); }
  static Vec exact(F x, F y) {
    const Vec upper_halves =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_epi16(round<DType::kBFloat16>(x), upper_halves,
                                     round<DType::kBFloat16>(y));
  }
  /// The smallest magnitude but zero that (an integer + offset) * scale has, or less.
  static F least_product(F scale, F offset) {
    const F part = _mm512_abs_ps(fraction(offset));
    const F least = _mm512_mask_mov_ps(
        part, _mm512_cmp_ps_mask(part, broadcast_float(0), _CMP_EQ_OQ), broadcast_float(1));
    return _mm512_abs_ps(mul(least, scale));
  }
  /// Whether the instruction may flush a product.
  static bool may_flush(F scale, F offset) {
    const F least = least_product(scale, offset);
    return (_mm512_cmp_ps_mask(least, broadcast_float(0x1p-90f), _CMP_LT_OQ) &
            _mm512_cmp_ps_mask(least, broadcast_float(0), _CMP_NEQ_OQ)) != 0;
  }
};

/// With or without an offset to add; kExact: either, and a product may be subnormal.
enum class PairsWay { kNoSum, kSum, kExact };

/// A weight of integers, two values a word.
struct RestoredPairs : Bf16Words {
  static constexpr bool kRestored = true;
  static constexpr int kStep = 2;

  using Way = PairsWay;
  static constexpr Way kWays[] = {Way::kNoSum, Way::kSum, Way::kExact};
  /// For all columns of p. False: the tile kernel has to do it.
  static bool choose(const Narrow& p, Way& way) {
    Vec most_of_all = zero();  // magnitudes
    bool exact = false;
    for_each_scale<ZmmFloat, DType::kBFloat16>(p, [&](F scale, F offset) {
      most_of_all = most(most_of_all, most(magnitude(scale), magnitude(offset)));
      exact |= may_flush(scale, offset);
    });
    way = exact ? Way::kExact : p.offset ? Way::kSum : Way::kNoSum;
    return most_lane(most_of_all) <= bits_of(kMostFinite);
  }
};

}  // namespace
}  // namespace weft::gemm
