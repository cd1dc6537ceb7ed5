// SPDX-License-Identifier: Apache-2.0
// vpdpbusd multiplies unsigned by signed bytes. A is packed as a + 128, so every sum comes out
// 128 * sum(b) too large; the header of a B panel holds that, per column of its k block, and each
// call takes it off. Sums wrap modulo 2^32, so the detour is exact whenever the result fits.
#pragma once

#include "kernels/gemm/x86_avx512.h"

namespace weft::gemm {
namespace {

constexpr int kNr = 32;

struct U8S8Dot : S32Acc {
  static constexpr int kStep = 4;
  static constexpr int kBHeaderBytes = kNr * kWord;
  static Acc correct(Acc acc, const char* header) { return _mm512_sub_epi32(acc, load(header)); }
  static Acc dot(Acc acc, Vec a, Vec b) { return _mm512_dpbusd_epi32(acc, a, b); }
};

struct HalfU8S8Dot : HalfS32Acc {
  static constexpr int kStep = U8S8Dot::kStep;
  static Acc correct(Acc acc, const char* header) { return _mm256_sub_epi32(acc, load(header)); }
  static Acc dot(Acc acc, Vec a, Vec b) { return _mm256_dpbusd_epi32(acc, a, b); }
};

struct SourceA : S8Quads {
  static void expand(Vec raw, Vec (&out)[1]) {
    out[0] = _mm512_xor_si512(raw, _mm512_set1_epi8(-128));
  }
};

struct SourceB : S8Quads {
  static constexpr int kHeaderBytes = U8S8Dot::kBHeaderBytes;
  static Vec add_header(Vec sum, Vec x) {
    return _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), x);  // 128 as an unsigned byte
  }
};

}  // namespace
}  // namespace weft::gemm
