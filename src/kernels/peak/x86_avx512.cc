// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/peak/kernels.h"

namespace weft::peak {

// 24 sums and 8 operands fill the 32 registers, as a 512-bit micro-kernel does.
void fp32_fma_avx512(const void* data, std::int64_t rounds, void* sink) {
  constexpr int kAccumulators = 24;
  const auto* values = static_cast<const float*>(data);
  __m512 acc[kAccumulators], a[4], b[4];
#pragma GCC unroll 24
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_load_ps(values + 16 * i);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_load_ps(values + 512 + 16 * i);
    b[i] = _mm512_load_ps(values + 768 + 16 * i);
  }
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 24
    for (int i = 0; i < kAccumulators; ++i)
      acc[i] = _mm512_fmadd_ps(a[i % 4], b[i / 4 % 4], acc[i]);
#pragma GCC unroll 24
  for (int i = 1; i < kAccumulators; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  _mm512_store_ps(sink, acc[0]);
}

void read_avx512(const void* data, std::int64_t bytes, void* sink) {
  constexpr int kStreams = 8;
  const auto* at = static_cast<const char*>(data);
  __m512i sum[kStreams];
#pragma GCC unroll 8
  for (int i = 0; i < kStreams; ++i) sum[i] = _mm512_setzero_si512();
  std::int64_t done = 0;
  for (; done + 64 * kStreams <= bytes; done += 64 * kStreams)
#pragma GCC unroll 8
    for (int i = 0; i < kStreams; ++i)
      sum[i] = _mm512_xor_si512(sum[i], _mm512_loadu_si512(at + done + 64 * i));
#pragma GCC unroll 8
  for (int i = 1; i < kStreams; ++i) sum[0] = _mm512_xor_si512(sum[0], sum[i]);
  for (; done < bytes; done += 64) {
    const std::int64_t left = bytes - done;
    const __mmask64 mask = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    sum[0] = _mm512_xor_si512(sum[0], _mm512_maskz_loadu_epi8(mask, at + done));
  }
  _mm512_storeu_si512(sink, sum[0]);
}

void copy_avx512(const void* from, void* to, std::int64_t bytes) {
  const auto* source = static_cast<const __m512i*>(from);
  auto* target = static_cast<__m512i*>(to);
  for (std::int64_t i = 0; i < bytes / 64; ++i)
    _mm512_store_si512(target + i, _mm512_load_si512(source + i));
}

void copy_stream_avx512(const void* from, void* to, std::int64_t bytes) {
  const auto* source = static_cast<const __m512i*>(from);
  auto* target = static_cast<__m512i*>(to);
  for (std::int64_t i = 0; i < bytes / 64; ++i)
    _mm512_stream_si512(target + i, _mm512_load_si512(source + i));
  _mm_sfence();  // the stores count as done only when they have left the core
}

}  // namespace weft::peak
