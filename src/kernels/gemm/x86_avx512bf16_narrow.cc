// SPDX-License-Identifier: Apache-2.0
// Few rows, as in x86_avx512_narrow.cc. Weights that are restored come as pairs of k: the two
// values of a column lie side by side from the start, because then vcvtne2ps2bf16 rounds 32 of them
// and makes words at once. What that does to the order of the columns is undone in the sums.
#include "kernels/gemm/generic_narrow.h"
#include "kernels/gemm/x86_avx512bf16.h"

namespace weft::gemm {
namespace {

constexpr int kNr = 32, kMostSums = 24;
using Counts = RowCounts<1, 2, 4, 8, 12, 16>;

/// Bf16Dot on columns in the order of the pairs: the first two of every four, then the others.
struct PairsDot : Bf16Dot {
  static Acc load_acc(const char* p) {
    const Vec order = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm512_permutexvar_ps(order, Bf16Dot::load_acc(p));
  }
  static void store_acc(char* p, Acc x) {
    const Vec order = _mm512_setr_epi32(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    Bf16Dot::store_acc(p, _mm512_permutexvar_ps(order, x));
  }
};

/// Stored for PairsDot (generic_narrow.h).
template <int kBits>
class StoredPairs : public Bf16Words {
 public:
  static constexpr bool kRestored = true;
  static constexpr int kStep = 2;
  static constexpr int kPerDword = 32 / kBits;
  static constexpr int kWords = kPerDword / kStep;

  bool prepare(const Narrow& p, std::int64_t group, int column) {
    const F scale = scale_row<ZmmFloat, DType::kBFloat16>(p, p.scale, group, column);
    const F offset = scale_row<ZmmFloat, DType::kBFloat16>(p, p.offset, group, column);
    const Vec first = _mm512_setr_epi32(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13);
    const Vec second = _mm512_add_epi32(first, _mm512_set1_epi32(2));
    scale_[0] = _mm512_permutexvar_ps(first, scale);
    scale_[1] = _mm512_permutexvar_ps(second, scale);
    offset_[0] = _mm512_permutexvar_ps(first, offset);
    offset_[1] = _mm512_permutexvar_ps(second, offset);
    for (int half = 0; half < 2; ++half)
      scaled_down_[half] = mul(scale_[half], broadcast_float(kUnit));
    way_ = all_normal(scale, offset) ? p.offset ? Way::kSum : Way::kScaled : Way::kExact;
    return every(scale, is_finite) && every(offset, is_finite);
  }

  /// As in Stored; kExact also where a product may be subnormal, which the instruction flushes.
  enum class Way { kScaled, kSum, kExact };
  static constexpr Way kWays[] = {Way::kScaled, Way::kSum, Way::kExact};
  Way way() const { return way_; }

  template <Way kWay>
  void words(Vec dword, Vec (&out)[kWords]) const {
    const Vec first = _mm512_shuffle_epi32(dword, _MM_PERM_BBAA);
    const Vec second = _mm512_shuffle_epi32(dword, _MM_PERM_DDCC);
    WEFT_UNROLL
    for (int e = 0; e < kWords; ++e) {
      const int even = 32 - kBits - 2 * e * kBits, odd = even - kBits;
      const Vec left = _mm512_set1_epi64(std::int64_t{odd} << 32 | even);
      const F x = value<kWay>(first, left, 0), y = value<kWay>(second, left, 1);
      out[e] = kWay == Way::kExact ? exact(x, y) : normal(x, y);
    }
  }

 private:
  static constexpr float kUnit = 1.0f / (1u << (32 - kBits));

  /// No product but zero is near the subnormals.
  static bool all_normal(F scale, F offset) {
    return every(least_product(scale, offset),
                 [](float x) { return x == 0 || x >= kSurelyNormal; });
  }
  template <Way kWay>
  F value(Vec columns, Vec left, int half) const {
    const Vec field =
        _mm512_and_si512(_mm512_sllv_epi32(columns, left), _mm512_set1_epi32(-1 << (32 - kBits)));
    if constexpr (kWay == Way::kScaled) return mul(to_float(field), scaled_down_[half]);
    return mul(fma(to_float(field), broadcast_float(kUnit), offset_[half]), scale_[half]);
  }

  F scale_[2], offset_[2], scaled_down_[2];
  Way way_;
};

}  // namespace

void pack_x_bf16_avx512bf16(const PackA& p) { pack_x<Bf16Pairs, Counts>(p); }
bool narrow_bf16_avx512bf16(const Narrow& p) {
  return narrow<Bf16Dot, Plain<Bf16Pairs>, Counts, kNr, kMostSums>(p);
}
bool narrow_bf16_int8_avx512bf16(const Narrow& p) {
  return narrow<PairsDot, StoredPairs<8>, Counts, kNr, kMostSums>(p);
}
bool narrow_bf16_int4_avx512bf16(const Narrow& p) {
  return narrow<PairsDot, StoredPairs<4>, Counts, kNr, kMostSums>(p);
}

}  // namespace weft::gemm
