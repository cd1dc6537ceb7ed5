// SPDX-License-Identifier: Apache-2.0
// Few rows and a weight of whole rows, as in x86_avx512_narrow_rows.cc. The integers of two rows
// are interleaved before they are restored, because then vcvtne2ps2bf16 makes words at once.
#include "kernels/gemm/generic_narrow_rows.h"
#include "kernels/gemm/x86_avx512bf16_pairs.h"

namespace weft::gemm {
namespace {

constexpr Sums kSums{24, 4, 8};
using Counts = RowCounts<1, 2, 4, 8, 12, 16>;

/// Bf16Dot on 16 columns of which the even ones come first: the nibbles of a byte are taken apart
/// last.
struct EvenOddDot : Bf16Dot {
  static Acc load_acc(const char* p) {
    const Vec order = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm512_permutexvar_ps(order, Bf16Dot::load_acc(p));
  }
  static void store_acc(char* p, Acc x) {
    const Vec order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    Bf16Dot::store_acc(p, _mm512_permutexvar_ps(order, x));
  }
};

/// StoredRows (generic_stored_rows.h), two rows a word. int4: for EvenOddDot.
template <int kBits_>
class StoredPairRows : public RestoredPairs {
 public:
  static constexpr int kBits = kBits_;

  void prepare(const Narrow& p, std::int64_t group, int column, int rows) {
    const F scale = scale_row<ZmmFloat, DType::kBFloat16>(p, p.scale, group, column);
    const F offset = scale_row<ZmmFloat, DType::kBFloat16>(p, p.offset, group, column);
    const Vec x = kBits == 8
                      ? _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7)
                      : _mm512_setr_epi32(0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14);
    const Vec y = _mm512_add_epi32(x, _mm512_set1_epi32(kBits == 8 ? 8 : 1));
    scale_[0] = _mm512_permutexvar_ps(x, scale);
    scale_[1] = _mm512_permutexvar_ps(y, scale);
    offset_[0] = _mm512_permutexvar_ps(x, offset);
    offset_[1] = _mm512_permutexvar_ps(y, offset);
    // A row that is not there would meet a zero of x, but that is not enough for the sign of a sum
    // that is zero.
    keep_ = _mm512_set1_epi32(rows == 1 ? 0xffff : -1);
  }

  template <Way kWay>
  Vec word(const char* w, std::int64_t stride_bytes) const {
    F x, y;
    if constexpr (kBits == 8) {
      const __m128i low = load16(w), high = load16(w + stride_bytes);
      x = to_float(_mm512_cvtepi8_epi32(_mm_unpacklo_epi8(low, high)));
      y = to_float(_mm512_cvtepi8_epi32(_mm_unpackhi_epi8(low, high)));
    } else {
      const Vec pairs = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(load8(w), load8(w + stride_bytes)));
      const F values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
      x = _mm512_permutexvar_ps(pairs, values);
      y = _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 4), values);
    }
    x = value<kWay>(x, 0);
    y = value<kWay>(y, 1);
    return _mm512_and_si512(keep_, kWay == Way::kExact ? exact(x, y) : normal(x, y));
  }

 private:
  static __m128i load16(const char* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static __m128i load8(const char* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  template <Way kWay>
  F value(F x, int half) const {
    if constexpr (kWay != Way::kNoSum) x = add(x, offset_[half]);
    return mul(x, scale_[half]);
  }

  F scale_[2], offset_[2];
  Vec keep_;
};

}  // namespace

bool narrow_rows_bf16_avx512bf16(const Narrow& p) {
  return narrow_rows<Bf16Dot, PlainRows<Bf16Pairs>, Counts, kSums>(p);
}
bool narrow_rows_bf16_int8_avx512bf16(const Narrow& p) {
  return narrow_rows<Bf16Dot, StoredPairRows<8>, Counts, kSums>(p);
}
bool narrow_rows_bf16_int4_avx512bf16(const Narrow& p) {
  return narrow_rows<EvenOddDot, StoredPairRows<4>, Counts, kSums>(p);
}

}  // namespace weft::gemm
