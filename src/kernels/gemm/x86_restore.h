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

/// The scales or the offsets of a panel's columns in one group.
struct alignas(64) Row {
  float wide[kPanel];
  std::uint32_t pair[kPanel];  ///< the value of T twice

  /// n values of T from `src` on, or one for all (step 0); zero beyond.
  template <class T>
  void load(const void* src, int n, int step) {
    const auto mask = static_cast<std::uint32_t>(low_bits(n));
    const __m512i x = step ? _mm512_maskz_loadu_epi16(mask, src)
                           : _mm512_maskz_set1_epi16(mask, *static_cast<const std::int16_t*>(src));
    for (int j = 0; j < kPanel; j += 16) {
      const __m256i half = j ? _mm512_extracti64x4_epi64(x, 1) : _mm512_castsi512_si256(x);
      const __m512i word = _mm512_cvtepu16_epi32(half);
      _mm512_store_ps(wide + j, T::widen(half));
      _mm512_store_si512(pair + j, _mm512_or_si512(word, _mm512_slli_epi32(word, 16)));
    }
  }
};

/// What a panel's columns need in one group.
struct Scales {
  Row scale, offset;                  ///< offsets of zero if there are none
  alignas(64) float product[kPanel];  ///< of both
  std::uint32_t fast;                 ///< the columns that can be computed fast
  std::uint32_t fusible;  ///< and those of them where one fma does what sum and product do
  bool has_offset;

  /// False: the tile kernel has to do it.
  template <class T>
  bool load(const Narrow& p, std::int64_t group) {
    const std::int64_t at = 2 * group * p.group_stride;
    has_offset = p.offset != nullptr;
    scale.load<T>(bytes(p.scale) + at, p.n, p.scale_step);
    if (has_offset)
      offset.load<T>(bytes(p.offset) + at, p.n, p.scale_step);
    else
      offset = {};
    fast = fusible = 0;
    for (int j = 0; j < kPanel; j += 16) {
      const __m512 s = _mm512_load_ps(scale.wide + j), o = _mm512_load_ps(offset.wide + j);
      if (!T::takes(s, o)) return false;
      fast |= std::uint32_t{T::fast(s, o)} << j;
      fusible |= std::uint32_t{T::fusible(s, o)} << j;
      _mm512_store_ps(product + j, _mm512_mul_ps(s, o));
    }
    fusible &= fast;
    return true;
  }
};

/// How w + offset is formed: there is no offset; it is added; it is part of an fma.
enum class Sum { kNone, kAdded, kFused };

/// Eight significant bits, ties to even, in the upper half of each word; exact for subnormals,
/// which the instruction flushes. No nan.
inline __m512i round_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
}

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

inline __m512 magnitude(__m512 x) { return _mm512_abs_ps(x); }
inline __mmask16 at_least(__m512 x, float limit) {
  return _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GE_OQ);
}
inline __mmask16 at_most(__m512 x, float limit) {
  return _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_LE_OQ);
}
inline __mmask16 is_finite(__m512 x) { return at_most(magnitude(x), 0x1.fffffep127f); }

/// The smallest magnitude but zero that (an integer + offset) · scale has, or less.
inline __m512 least_product(__m512 scale, __m512 offset) {
  const __m512 fraction =
      magnitude(_mm512_sub_ps(offset, _mm512_roundscale_ps(offset, _MM_FROUND_TO_NEAREST_INT)));
  const __m512 least = _mm512_mask_mov_ps(fraction, at_most(fraction, 0), _mm512_set1_ps(1));
  return _mm512_mul_ps(least, magnitude(scale));
}

/// Restoring to bfloat16. A type says
///   takes(scale, offset)     whether 16 columns can be restored with the right bits
///   fast(scale, offset)      the columns of 16 that can be computed fast
///   fusible(scale, offset)   the columns of 16 where Sum::kFused is right (if they are fast)
///   store<kSum, kFast>(src, scales, j0, j1, dst)
///                            16 values of int8 of column j0 and 16 of j1, which may be the same
struct ToBf16 {
  static constexpr int kPlanes = 1;
  static __m512 widen(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }

  /// Finite scales only: sums and products that are not finite then have the right bits by
  /// themselves.
  static bool takes(__m512 scale, __m512 offset) {
    return (is_finite(scale) & is_finite(offset)) == 0xffff;
  }
  /// Twice the smallest normal number, because the product is rounded.
  static __mmask16 fast(__m512 scale, __m512 offset) {
    return at_least(least_product(scale, offset), 0x1p-125f) | at_most(magnitude(scale), 0);
  }
  /// w + offset is exact in fp32 (an offset above 128 is an integer), and so is offset · scale, of
  /// 8 + 8 bits, unless it is very small: then fma(w, scale, offset · scale) has no other rounding
  /// than (w + offset) · scale.
  static __mmask16 fusible(__m512 scale, __m512 offset) {
    constexpr int kFifteenBits = 15 << 4 | _MM_FROUND_TO_NEAREST_INT;
    const __m512 product = magnitude(_mm512_mul_ps(offset, scale));
    return _mm512_cmp_ps_mask(offset, _mm512_roundscale_ps(offset, kFifteenBits), _CMP_EQ_OQ) &
           at_most(magnitude(offset), 0x1p15f) &
           (at_least(product, 0x1p-100f) | at_most(magnitude(offset), 0)) &
           at_most(product, 0x1p100f);
  }

  template <Sum kSum, bool kFast>
  static void store(const std::byte* src, const Scales& scales, int j0, int j1, std::byte* dst) {
    const __m512 x0 = value<kSum>(src, scales, j0), x1 = value<kSum>(src + 16, scales, j1);
    if constexpr (kFast) {
      _mm512_store_si512(dst, (__m512i)_mm512_cvtne2ps_pbh(x1, x0));
    } else {
      const __m256i low = _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bf16(x0), 16));
      const __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bf16(x1), 16));
      _mm512_store_si512(dst, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
    }
  }

 private:
  template <Sum kSum>
  static __m512 value(const std::byte* src, const Scales& scales, int j) {
    const __m512 w = _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src))));
    const __m512 scale = _mm512_set1_ps(scales.scale.wide[j]);
    if constexpr (kSum == Sum::kNone) return _mm512_mul_ps(w, scale);
    if constexpr (kSum == Sum::kFused)
      return _mm512_fmadd_ps(w, scale, _mm512_set1_ps(scales.product[j]));
    return _mm512_mul_ps(_mm512_add_ps(w, _mm512_set1_ps(scales.offset.wide[j])), scale);
  }
};

/// Restoring to float16, in half arithmetic: hi and lo.
struct ToFp16 {
  static constexpr int kPlanes = 2;
  static __m512 widen(__m256i x) { return _mm512_cvtph_ps(x); }

  /// What is not finite becomes a nan in lo.
  static bool takes(__m512, __m512) { return true; }
  /// No subnormal but zero, and no overflow.
  static __mmask16 fast(__m512 scale, __m512 offset) {
    constexpr float kLimit = 60000;  // less than the largest float16 by more than the roundings
    const __m512 most = _mm512_add_ps(magnitude(offset), _mm512_set1_ps(128));
    const __mmask16 finite =
        at_most(most, kLimit) & at_most(_mm512_mul_ps(most, magnitude(scale)), kLimit);
    return finite &
           (at_least(least_product(scale, offset), 0x1p-14f) | at_most(magnitude(scale), 0));
  }
  /// offset · scale is not exact.
  static __mmask16 fusible(__m512, __m512) { return 0; }

  template <Sum kSum, bool kFast>
  static void store(const std::byte* src, const Scales& scales, int j0, int j1, std::byte* dst) {
    __m512h x = _mm512_cvtepi16_ph(
        _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src))));
    if constexpr (kSum != Sum::kNone) x = _mm512_add_ph(x, halves(scales.offset, j0, j1));
    const __m512i bits = _mm512_castph_si512(_mm512_mul_ph(x, halves(scales.scale, j0, j1)));
    const Split s = kFast ? split_normal(bits) : split(bits);
    _mm512_store_si512(dst, s.hi);
    _mm512_store_si512(dst + kLo, s.lo);
  }

 private:
  static __m512h halves(const Row& row, int j0, int j1) {
    const __m512i low = _mm512_set1_epi32(static_cast<int>(row.pair[j0]));
    if (j0 == j1) return _mm512_castsi512_ph(low);
    return _mm512_castsi512_ph(_mm512_mask_set1_epi32(low, 0xff00, static_cast<int>(row.pair[j1])));
  }
};

/// int4: tables of 16 values. 32 nibbles become 32 indices in two instructions, because the lookup
/// ignores all but the lowest five bits of an index, and holds every value twice.
///
/// A restorer is prepared for a group; visit(f) then calls f with what restores its columns the
/// fastest way, any() gives what is right for every group. Both have
///   column<kSteps>(j, src, dst, step_bytes)   32 kSteps weights of column j as lines of tiles,
///                                             step_bytes from those of a k step to the next
template <class T>
class Int4 {
 public:
  using Type = T;
  static constexpr int kStepBytes = 16;  // of 32 weights

  bool prepare(const Narrow& p, std::int64_t group) {
    Scales scales;
    if (!scales.load<T>(p, group)) return false;
    if (~scales.fast != 0)
      store_tables<Sum::kAdded, false>(scales);
    else if (scales.has_offset)
      store_tables<Sum::kAdded, true>(scales);
    else
      store_tables<Sum::kNone, true>(scales);
    return true;
  }
  template <class F>
  bool visit(F f) const {
    return f(any());
  }
  const Int4& any() const { return *this; }

  template <int kSteps>
  void column(int j, const std::byte* src, std::byte* dst, std::int64_t step_bytes) const {
    // Each byte into the upper half of two words; multiplied by 2^8 or 2^4, the upper half of the
    // product begins with its lower or its upper nibble. (A shift would compete with the lookup.)
    const __m512i bytes_of_words =
        _mm512_set_epi8(15, -1, 15, -1, 14, -1, 14, -1, 13, -1, 13, -1, 12, -1, 12, -1,  //
                        11, -1, 11, -1, 10, -1, 10, -1, 9, -1, 9, -1, 8, -1, 8, -1,      //
                        7, -1, 7, -1, 6, -1, 6, -1, 5, -1, 5, -1, 4, -1, 4, -1,          //
                        3, -1, 3, -1, 2, -1, 2, -1, 1, -1, 1, -1, 0, -1, 0, -1);
    const __m512i powers = _mm512_set1_epi32(0x10 << 16 | 0x100);
    __m512i table[T::kPlanes];
    for (int plane = 0; plane < T::kPlanes; ++plane)
      table[plane] = _mm512_broadcast_i64x4(_mm256_load_si256(
          reinterpret_cast<const __m256i*>(tables_ + j * kTableBytes + plane * kLo)));
    for (int s = 0; s < kSteps; ++s, src += kStepBytes, dst += step_bytes) {
      const __m512i raw =
          _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src)));
      const __m512i index = _mm512_mulhi_epu16(_mm512_shuffle_epi8(raw, bytes_of_words), powers);
      for (int plane = 0; plane < T::kPlanes; ++plane)
        _mm512_store_si512(dst + plane * kLo, _mm512_permutexvar_epi16(index, table[plane]));
    }
  }

 private:
  static constexpr int kTableBytes = 32;

  // A line of values is the tables of two columns. Adding zero changes nothing.
  template <Sum kSum, bool kFast>
  void store_tables(const Scales& scales) {
    static constexpr std::int8_t kValues[32] = {
        0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1,  //
        0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    for (int j = 0; j < kPanel; j += 2)
      T::template store<kSum, kFast>(bytes(kValues), scales, j, j + 1, tables_ + j * kTableBytes);
  }

  alignas(64) std::byte tables_[kPanel * kTableBytes + (T::kPlanes - 1) * kLo];
};

template <class T>
class Int8 {
 public:
  using Type = T;
  static constexpr int kStepBytes = 32;

  bool prepare(const Narrow& p, std::int64_t group) { return scales_.load<T>(p, group); }
  template <class F>
  bool visit(F f) const {
    if (~scales_.fast != 0) return f(any());
    if (!scales_.has_offset) return f(Fast<Sum::kNone>{scales_});
    return ~scales_.fusible == 0 ? f(Fast<Sum::kFused>{scales_}) : f(Fast<Sum::kAdded>{scales_});
  }
  struct Any {
    const Scales& scales;
    template <int kSteps>
    void column(int j, const std::byte* src, std::byte* dst, std::int64_t step_bytes) const {
      if (scales.fast >> j & 1)
        store<kSteps, Sum::kAdded, true>(scales, j, src, dst, step_bytes);
      else
        store<kSteps, Sum::kAdded, false>(scales, j, src, dst, step_bytes);
    }
  };
  Any any() const { return {scales_}; }

 private:
  template <Sum kSum>
  struct Fast {
    const Scales& scales;
    template <int kSteps>
    void column(int j, const std::byte* src, std::byte* dst, std::int64_t step_bytes) const {
      store<kSteps, kSum, true>(scales, j, src, dst, step_bytes);
    }
  };

  template <int kSteps, Sum kSum, bool kFast>
  static void store(const Scales& scales, int j, const std::byte* src, std::byte* dst,
                    std::int64_t step_bytes) {
    for (int s = 0; s < kSteps; ++s, src += kStepBytes, dst += step_bytes)
      T::template store<kSum, kFast>(src, scales, j, j, dst);
  }

  Scales scales_;
};

}  // namespace
}  // namespace weft::gemm
