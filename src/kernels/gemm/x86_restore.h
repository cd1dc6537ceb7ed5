// SPDX-License-Identifier: Apache-2.0
// Restoring int8 and int4 weights to float16 and bfloat16 (rows::AntiquantRow has the formulas), 32
// values of one column at a time.
//   int4: the 16 values a column can have in a group are made once, exactly, and looked up.
//   int8: computed. What is computed fast is exact for ordinary scales; a column whose scale or
//         offset can make a subnormal or an overflow takes the slow way, which is always exact.
// float16 comes as hi + lo (x86_amx_fp16.cc), because the only kernels that use it multiply those.
#pragma once

#include "kernels/gemm/x86_amx_split.h"

namespace weft::gemm {
namespace {

constexpr int kPanel = 32;  // columns at most

/// The scales and offsets of a panel's columns in one group, widened.
struct alignas(64) Scales {
  float scale[kPanel], offset[kPanel];
};

inline __m512 widen_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

/// n values of T from `src` on, or one for all (step 0); zero beyond.
template <class T>
inline void widen_row(const void* src, int n, int step, float* dst) {
  const auto mask = static_cast<std::uint32_t>(low_bits(n));
  const __m512i x = step ? _mm512_maskz_loadu_epi16(mask, src)
                         : _mm512_maskz_set1_epi16(mask, *static_cast<const std::int16_t*>(src));
  _mm512_store_ps(dst, T::widen(_mm512_castsi512_si256(x)));
  _mm512_store_ps(dst + 16, T::widen(_mm512_extracti64x4_epi64(x, 1)));
}

template <class T>
inline void load_scales(const Narrow& p, std::int64_t group, Scales& scales) {
  const std::int64_t at = 2 * group * p.group_stride;
  widen_row<T>(bytes(p.scale) + at, p.n, p.scale_step, scales.scale);
  if (p.offset) widen_row<T>(bytes(p.offset) + at, p.n, p.scale_step, scales.offset);
}

/// Eight significant bits, ties to even, in the upper half of each word; exact for subnormals,
/// which the instruction flushes. No nan.
inline __m512i round_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
}

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// To float16 and back.
inline __m512 round_fp16(__m512 x) { return _mm512_cvtph_ps(_mm512_cvtps_ph(x, kNearest)); }

/// To the eleven significant bits of float16: as round_fp16 where that is normal or exact. 2^13
/// times the power of two in x pushes exactly the bits that are too many out of the sum.
inline __m512 round_significand(__m512 x) {
  const __m512 power = _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(static_cast<int>(0xff800000u))));
  const __m512 sum = _mm512_fmadd_ps(power, _mm512_set1_ps(0x1p13f), x);
  return _mm512_fnmadd_ps(power, _mm512_set1_ps(0x1p13f), sum);
}

inline __m512 magnitude(__m512 x) { return _mm512_abs_ps(x); }
inline __mmask16 at_least(__m512 x, float limit) {
  return _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GE_OQ);
}
inline __mmask16 at_most(__m512 x, float limit) {
  return _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_LE_OQ);
}
inline __mmask16 is_finite(__m512 x) { return at_most(magnitude(x), 0x1.fffffep127f); }

/// The smallest magnitude but zero that an integer plus offset has, or less.
inline __m512 least_sum(__m512 offset) {
  const __m512 fraction =
      magnitude(_mm512_sub_ps(offset, _mm512_roundscale_ps(offset, _MM_FROUND_TO_NEAREST_INT)));
  return _mm512_mask_mov_ps(fraction, at_most(fraction, 0), _mm512_set1_ps(1));
}

/// How the columns of a group are computed: fast if no product but zero is subnormal and none
/// overflows; exact_sum: and w + offset needs no rounding.
struct Ways {
  std::uint32_t fast, exact_sum;
};

struct ToBf16 {
  static constexpr int kPlanes = 1;
  static __m512 widen(__m256i x) { return widen_bf16(x); }

  /// Finite scales only: sums and products that are not finite then have the right bits by
  /// themselves.
  static bool takes(__m512 scale, __m512 offset) {
    return (is_finite(scale) & is_finite(offset)) == 0xffff;
  }
  // Twice the smallest normal number: the product is rounded.
  static Ways ways(__m512 scale, __m512 offset) {
    const __m512 least = _mm512_mul_ps(least_sum(offset), magnitude(scale));
    return {static_cast<std::uint32_t>(at_least(least, 0x1p-125f) | at_most(magnitude(scale), 0)),
            0};
  }

  /// The 16 values of int4 in its order.
  static void store_table(__m512 w, const float* scale, const float* offset, std::byte* dst) {
    if (offset) w = _mm512_add_ps(w, _mm512_set1_ps(*offset));
    const __m512i rounded = round_bf16(_mm512_mul_ps(w, _mm512_set1_ps(*scale)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(dst),
                       _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
  }

  static __m512 sum_fast(__m512 w, __m512 offset) { return _mm512_add_ps(w, offset); }
  static __m512 sum_slow(__m512 w, __m512 offset) { return _mm512_add_ps(w, offset); }
  static void store_fast(__m512 x0, __m512 x1, std::byte* dst) {
    _mm512_store_si512(dst, (__m512i)_mm512_cvtne2ps_pbh(x1, x0));
  }
  static void store_slow(__m512 x0, __m512 x1, std::byte* dst) {
    const __m256i low = _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bf16(x0), 16));
    const __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bf16(x1), 16));
    _mm512_store_si512(dst, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  }
};

struct ToFp16 {
  static constexpr int kPlanes = 2;
  static __m512 widen(__m256i x) { return _mm512_cvtph_ps(x); }

  /// What is not finite becomes a nan in lo.
  static bool takes(__m512, __m512) { return true; }
  static Ways ways(__m512 scale, __m512 offset) {
    constexpr float kLimit = 60000;  // less than the largest float16 by more than the roundings
    const __m512 least = _mm512_mul_ps(least_sum(offset), magnitude(scale));
    const __m512 most = _mm512_add_ps(magnitude(offset), _mm512_set1_ps(128));
    const __mmask16 small =
        at_most(most, kLimit) & at_most(_mm512_mul_ps(most, magnitude(scale)), kLimit);
    const __mmask16 normal = at_least(least, 0x1p-14f) | at_most(magnitude(scale), 0);
    // The largest sum has the coarsest last bit. If it is exact, so is every other.
    const __m512 back = _mm512_sub_ps(round_significand(most), _mm512_set1_ps(128));
    const __mmask16 exact =
        _mm512_cmp_ps_mask(back, magnitude(offset), _CMP_EQ_OQ) & at_most(most, 2047);
    return {static_cast<std::uint32_t>(small & normal), exact};
  }

  static void store_table(__m512 w, const float* scale, const float* offset, std::byte* dst) {
    if (offset) w = round_fp16(_mm512_add_ps(w, _mm512_set1_ps(*offset)));
    const __m512 x = round_fp16(_mm512_mul_ps(w, _mm512_set1_ps(*scale)));
    const __m512i hi =
        _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
    const __m512i lo = _mm512_castps_si512(_mm512_sub_ps(x, _mm512_castsi512_ps(hi)));
    auto* to = reinterpret_cast<__m256i*>(dst);
    _mm256_store_si256(to, _mm512_cvtepi32_epi16(_mm512_srli_epi32(hi, 16)));
    _mm256_store_si256(to + 1, _mm512_cvtepi32_epi16(_mm512_srli_epi32(lo, 16)));
  }

  static __m512 sum_fast(__m512 w, __m512 offset) {
    return round_significand(_mm512_add_ps(w, offset));
  }
  static __m512 sum_slow(__m512 w, __m512 offset) { return round_fp16(_mm512_add_ps(w, offset)); }
  static __m512i joined(__m512 x0, __m512 x1) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(x0, kNearest)),
                              _mm512_cvtps_ph(x1, kNearest), 1);
  }
  static void store_fast(__m512 x0, __m512 x1, std::byte* dst) {
    const Split s = split_normal(joined(x0, x1));
    _mm512_store_si512(dst, s.hi);
    _mm512_store_si512(dst + kLo, s.lo);
  }
  static void store_slow(__m512 x0, __m512 x1, std::byte* dst) {
    const Split s = split(joined(x0, x1));
    _mm512_store_si512(dst, s.hi);
    _mm512_store_si512(dst + kLo, s.lo);
  }
};

/// Some columns of a block: 64 bytes of each at most, to be restored, and what to fetch meanwhile.
struct Columns {
  int first, count;
  const std::byte* src;     ///< of the first
  std::int64_t stride;      ///< from column to column
  std::byte* dst;           ///< of the first; the others follow line by line
  std::int64_t step_bytes;  ///< from the values of one k step to those of the next
  const std::byte* fetch;   ///< a line for each column
  std::int64_t fetch_stride;

  template <class Each>
  void each(Each restore) const {
    const std::byte *from = src, *soon = fetch;
    std::byte* to = dst;
    for (int j = first; j < first + count; ++j) {
      _mm_prefetch(reinterpret_cast<const char*>(soon), _MM_HINT_T1);
      restore(j, from, to);
      from += stride;
      soon += fetch_stride;
      to += kLineBytes;
    }
  }
};

/// int4: tables of 16 values. 32 nibbles become 32 indices in two instructions, because the lookup
/// ignores all but the lowest five bits of an index, and holds every value twice.
template <class T>
class Int4 {
 public:
  using Type = T;
  static constexpr int kPerLine = 128;  // weights in 64 bytes

  bool prepare(const Narrow& p, std::int64_t group) {
    Scales scales;
    load_scales<T>(p, group, scales);
    const __m512 values = _mm512_set_ps(-1, -2, -3, -4, -5, -6, -7, -8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int j = 0; j < kPanel; j += 16)
      if (!T::takes(_mm512_load_ps(scales.scale + j),
                    p.offset ? _mm512_load_ps(scales.offset + j) : _mm512_setzero_ps()))
        return false;
    for (int j = 0; j < p.n; ++j)
      T::store_table(values, scales.scale + j, p.offset ? scales.offset + j : nullptr, tables_[j]);
    return true;
  }

  template <int kSteps>
  void restore(const Columns& columns) const {
    // Each byte into the upper half of two words; multiplied by 2^8 or 2^4, the upper half of the
    // product begins with its lower or its upper nibble. (A shift would compete with the lookup.)
    const __m512i bytes_of_words =
        _mm512_set_epi8(15, -1, 15, -1, 14, -1, 14, -1, 13, -1, 13, -1, 12, -1, 12, -1,  //
                        11, -1, 11, -1, 10, -1, 10, -1, 9, -1, 9, -1, 8, -1, 8, -1,      //
                        7, -1, 7, -1, 6, -1, 6, -1, 5, -1, 5, -1, 4, -1, 4, -1,          //
                        3, -1, 3, -1, 2, -1, 2, -1, 1, -1, 1, -1, 0, -1, 0, -1);
    const __m512i powers = _mm512_set1_epi32(0x10 << 16 | 0x100);
    columns.each([&](int j, const std::byte* src, std::byte* dst) {
      __m512i table[T::kPlanes];
      for (int plane = 0; plane < T::kPlanes; ++plane)
        table[plane] = _mm512_broadcast_i64x4(
            _mm256_load_si256(reinterpret_cast<const __m256i*>(tables_[j] + 32 * plane)));
      for (int s = 0; s < kSteps; ++s, src += 16, dst += columns.step_bytes) {
        const __m512i raw =
            _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src)));
        const __m512i index = _mm512_mulhi_epu16(_mm512_shuffle_epi8(raw, bytes_of_words), powers);
        for (int plane = 0; plane < T::kPlanes; ++plane)
          _mm512_store_si512(dst + plane * kLo, _mm512_permutexvar_epi16(index, table[plane]));
      }
    });
  }

 private:
  alignas(64) std::byte tables_[kPanel][32 * T::kPlanes];
};

template <class T>
class Int8 {
 public:
  using Type = T;
  static constexpr int kPerLine = 64;

  bool prepare(const Narrow& p, std::int64_t group) {
    load_scales<T>(p, group, scales_);
    same_ = true;
    for (int j = 0; j < kPanel; j += 16) {
      const __m512 scale = _mm512_load_ps(scales_.scale + j);
      const __m512 offset = p.offset ? _mm512_load_ps(scales_.offset + j) : _mm512_setzero_ps();
      if (!T::takes(scale, offset)) return false;
      const Ways ways = T::ways(scale, offset);
      for (int i = 0; i < 16; ++i) {
        const bool fast = ways.fast >> i & 1, exact = ways.exact_sum >> i & 1;
        way_[j + i] = fast       ? !p.offset ? kScaled
                                   : exact   ? kExactSum
                                             : kRoundedSum
                      : p.offset ? kSlowSum
                                 : kSlowScaled;
        same_ = same_ && (j + i >= p.n || way_[j + i] == way_[0]);
      }
    }
    return true;
  }

  template <int kSteps>
  void restore(const Columns& columns) const {
    if (same_) return restore<kSteps>(way_[0], columns);
    columns.each([&](int j, const std::byte* src, std::byte* dst) {
      restore<kSteps>(way_[j], {j, 1, src, 0, dst, columns.step_bytes, src, 0});
    });
  }

 private:
  enum Way : std::uint8_t { kScaled, kExactSum, kRoundedSum, kSlowScaled, kSlowSum };

  template <int kSteps>
  void restore(Way way, const Columns& columns) const {
    switch (way) {
      case kScaled:
        return restore<kSteps, kScaled>(columns);
      case kExactSum:
        return restore<kSteps, kExactSum>(columns);
      case kRoundedSum:
        return restore<kSteps, kRoundedSum>(columns);
      case kSlowScaled:
        return restore<kSteps, kSlowScaled>(columns);
      case kSlowSum:
        return restore<kSteps, kSlowSum>(columns);
    }
  }

  template <int kSteps, Way kWay>
  void restore(const Columns& columns) const {
    columns.each([&](int j, const std::byte* src, std::byte* dst) {
      const __m512 scale = _mm512_set1_ps(scales_.scale[j]);
      const __m512 offset = _mm512_set1_ps(scales_.offset[j]);
      for (int s = 0; s < kSteps; ++s, src += 32, dst += columns.step_bytes) {
        const __m512 x0 = _mm512_mul_ps(sum<kWay>(integers(src), offset), scale);
        const __m512 x1 = _mm512_mul_ps(sum<kWay>(integers(src + 16), offset), scale);
        if constexpr (kWay == kSlowScaled || kWay == kSlowSum)
          T::store_slow(x0, x1, dst);
        else
          T::store_fast(x0, x1, dst);
      }
    });
  }

  template <Way kWay>
  static __m512 sum(__m512 w, __m512 offset) {
    if constexpr (kWay == kExactSum) return _mm512_add_ps(w, offset);
    if constexpr (kWay == kRoundedSum) return T::sum_fast(w, offset);
    if constexpr (kWay == kSlowSum) return T::sum_slow(w, offset);
    return w;
  }
  static __m512 integers(const std::byte* src) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src))));
  }

  Scales scales_;
  Way way_[kPanel];
  bool same_;  // one way for all columns
};

}  // namespace
}  // namespace weft::gemm
