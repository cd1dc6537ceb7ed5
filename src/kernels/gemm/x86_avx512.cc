// SPDX-License-Identifier: Apache-2.0
// 14 x 32: 28 of the 32 registers hold sums, two hold B and one a word of A. Per step that is 16
// loads for 28 multiply-adds, so the loads (two per cycle, as the multiply-adds) never limit.
#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

struct F32Dot : F32Acc {
  static constexpr int kStep = 1;
  static Acc dot(Acc acc, Vec a, Vec b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), acc);
  }
};

struct S16Dot : S32Acc {
  static constexpr int kStep = 2;
  // Exact: two products are at most 2 * 2^14 in magnitude.
  static Acc dot(Acc acc, Vec a, Vec b) { return add(acc, _mm512_madd_epi16(a, b)); }
};

// One 16-bit float, widened: exact.
template <bool fp16>
struct F32Source : Zmm {
  static constexpr int kBytes = 2, kStep = 1;
  static void expand(Vec raw, Vec (&out)[2]) {
    if constexpr (fp16) {
      const Vec order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1,
                                         30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
      const Vec even_odd = _mm512_permutexvar_epi16(order, raw);
      out[0] = widen(_mm512_castsi512_si256(even_odd));
      out[1] = widen(_mm512_extracti64x4_epi64(even_odd, 1));
    } else {
      out[0] = _mm512_slli_epi32(raw, 16);
      out[1] = _mm512_and_si512(raw, _mm512_set1_epi32(-65536));
    }
  }
  static Vec load_n(const char* p, std::int64_t) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vec load_n(const char* p, std::int64_t, int, int count) {
    return widen(_mm256_maskz_loadu_epi16(0xffff >> (16 - count), p));
  }

 private:
  static Vec widen(__m256i x) {
    if constexpr (fp16) return _mm512_castps_si512(_mm512_cvtph_ps(x));
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
  }
};
using F16 = F32Source<true>;
using Bf16 = F32Source<false>;

// Two int8, widened to int16.
struct S8 : Zmm {
  static constexpr int kBytes = 1, kStep = 2;
  static void expand(Vec raw, Vec (&out)[2]) {
    // Each byte into the upper half of its 16 bits, then an arithmetic shift.
    const __m128i low = _mm_set_epi8(13, -1, 12, -1, 9, -1, 8, -1, 5, -1, 4, -1, 1, -1, 0, -1);
    const __m128i high = _mm_set_epi8(15, -1, 14, -1, 11, -1, 10, -1, 7, -1, 6, -1, 3, -1, 2, -1);
    out[0] = _mm512_srai_epi16(_mm512_shuffle_epi8(raw, _mm512_broadcast_i32x4(low)), 8);
    out[1] = _mm512_srai_epi16(_mm512_shuffle_epi8(raw, _mm512_broadcast_i32x4(high)), 8);
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes) {
    return interleave(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)),
                      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + stride_bytes)));
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes, int rows, int count) {
    const __mmask16 mask = 0xffff >> (16 - count);
    return interleave(
        _mm_maskz_loadu_epi8(mask, p),
        rows > 1 ? _mm_maskz_loadu_epi8(mask, p + stride_bytes) : _mm_setzero_si128());
  }

 private:
  static Vec interleave(__m128i low, __m128i high) {
    return _mm512_cvtepi8_epi16(
        _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high)));
  }
};

constexpr int kMr = 14, kNr = 32;

}  // namespace

void tile_f32_avx512(const Tile& t) { tile<F32Dot, kMr, kNr>(t); }
void tile_s16_avx512(const Tile& t) { tile<S16Dot, kMr, kNr>(t); }
void pack_a_f16_avx512(const PackA& args) { pack_a<F16, kMr>(args); }
void pack_b_f16_avx512(const PackB& args) { pack_b<F16, kNr>(args); }
void pack_bt_f16_avx512(const PackB& args) { pack_bt<F16, kNr>(args); }
void pack_a_bf16_avx512(const PackA& args) { pack_a<Bf16, kMr>(args); }
void pack_b_bf16_avx512(const PackB& args) { pack_b<Bf16, kNr>(args); }
void pack_bt_bf16_avx512(const PackB& args) { pack_bt<Bf16, kNr>(args); }
void pack_a_s8_avx512(const PackA& args) { pack_a<S8, kMr>(args); }
void pack_b_s8_avx512(const PackB& args) { pack_b<S8, kNr>(args); }
void pack_bt_s8_avx512(const PackB& args) { pack_bt<S8, kNr>(args); }

}  // namespace weft::gemm
