// SPDX-License-Identifier: Apache-2.0
// Few rows, as in x86_avx512_narrow.cc. Weights that are restored come as pairs of k: the two
// values of a column lie side by side from the start, because then vcvtne2ps2bf16 rounds 32 of them
// and makes words at once. What that does to the order of the columns is undone in the sums.
#include "kernels/gemm/generic_narrow_lanes.h"
#include "kernels/gemm/generic_narrow_pieces.h"
#include "kernels/gemm/x86_avx512bf16_pairs.h"

namespace weft::gemm {
namespace {

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
class StoredPairs : public RestoredPairs {
 public:
  static constexpr int kPerDword = 32 / kBits;
  static constexpr int kWords = kPerDword / kStep;

  void prepare(const Narrow& p, std::int64_t group, int column) {
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
  }

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

  template <Way kWay>
  F value(Vec columns, Vec left, int half) const {
    const Vec field =
        _mm512_and_si512(_mm512_sllv_epi32(columns, left), _mm512_set1_epi32(-1 << (32 - kBits)));
    if constexpr (kWay == Way::kNoSum) return mul(to_float(field), scaled_down_[half]);
    return mul(fma(to_float(field), broadcast_float(kUnit), offset_[half]), scale_[half]);
  }

  F scale_[2], offset_[2], scaled_down_[2];
};

/// A column of StoredRun's, for Bf16Dot: two adjacent values a word.
template <int kBits_>
class StoredRunOfPairs : public RestoredPairs {
 public:
  static constexpr int kBits = kBits_;

  void prepare(const Narrow& p, std::int64_t group, int column) {
    scale_ = scale_of<ZmmFloat, DType::kBFloat16>(p, p.scale, group, column);
    offset_ = scale_of<ZmmFloat, DType::kBFloat16>(p, p.offset, group, column);
  }
  template <Way kWay>
  Vec words(const char* w) const {
    const F x = value<kWay>(w), y = value<kWay>(w + kLanes * kBits / 8);
    return kWay == Way::kExact ? exact(x, y) : normal(x, y);
  }

 private:
  template <Way kWay>
  F value(const char* w) const {
    F x = integers<kBits>(w);
    if constexpr (kWay != Way::kNoSum) x = add(x, offset_);
    return mul(x, scale_);
  }

  F scale_, offset_;
};

template <class Weights, class Run, class Dot>
bool narrow_with(const Narrow& p) {
  return Counts::with(p.m, [&]<int rows>() {
    if constexpr (rows > 8)
      return narrow_lanes<Bf16Dot, Run, rows, 16>(p);
    else if constexpr (rows == 8 && Run::kBits > 4)
      return narrow_lanes<HalfBf16Dot, Run, rows, 16>(p);
    else
      return narrow_pieces<Dot, Weights, rows>(p);
  });
}
template <int kBits>
bool narrow_from(const Narrow& p) {
  return narrow_with<StoredPairs<kBits>, StoredRunOfPairs<kBits>, PairsDot>(p);
}

}  // namespace

void pack_x_bf16_avx512bf16(const PackA& p) { pack_x<Bf16Pairs, Counts>(p); }
bool narrow_bf16_avx512bf16(const Narrow& p) {
  return narrow_with<Plain<Bf16Pairs>, PlainRun<Bf16Pairs>, Bf16Dot>(p);
}
bool narrow_bf16_int8_avx512bf16(const Narrow& p) { return narrow_from<8>(p); }
bool narrow_bf16_int4_avx512bf16(const Narrow& p) { return narrow_from<4>(p); }

}  // namespace weft::gemm
