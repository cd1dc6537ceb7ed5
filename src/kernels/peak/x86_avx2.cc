// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/peak/kernels.h"

namespace weft::peak {

// Two FMA units with a latency of 4 or 5 cycles want 10 sums in flight; 12 and 4 operands fill the
// 16 registers.
void fp32_fma_avx2(const void* data, std::int64_t rounds, void* sink) {
  constexpr int kAccumulators = 12;
  const auto* values = static_cast<const float*>(data);
  __m256 acc[kAccumulators], a[2], b[2];
#pragma GCC unroll 12
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm256_load_ps(values + 8 * i);
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    a[i] = _mm256_load_ps(values + 128 + 8 * i);
    b[i] = _mm256_load_ps(values + 192 + 8 * i);
  }
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 12
    for (int i = 0; i < kAccumulators; ++i)
      acc[i] = _mm256_fmadd_ps(a[i % 2], b[i / 2 % 2], acc[i]);
#pragma GCC unroll 12
  for (int i = 1; i < kAccumulators; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  _mm256_store_ps(static_cast<float*>(sink), acc[0]);
}

// Four streams, fetched ahead, as in x86_avx512.cc.
void read_avx2(const void* data, std::int64_t bytes, void* sink) {
  constexpr int kStreams = 4, kLoads = 8, kAhead = 1024;
  const auto* begin = static_cast<const char*>(data);
  const std::int64_t part = bytes / kStreams / (32 * kLoads) * (32 * kLoads);
  __m256i sum[kLoads];
#pragma GCC unroll 8
  for (int i = 0; i < kLoads; ++i) sum[i] = _mm256_setzero_si256();
  for (std::int64_t done = 0; done < part; done += 32 * kLoads)
    for (int stream = 0; stream < kStreams; ++stream) {
      const char* at = begin + stream * part + done;
#pragma GCC unroll 8
      for (int i = 0; i < kLoads; ++i) {
        if (i % 2 == 0) _mm_prefetch(at + 32 * i + kAhead, _MM_HINT_T0);
        sum[i] = _mm256_xor_si256(
            sum[i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32 * i)));
      }
    }
#pragma GCC unroll 8
  for (int i = 1; i < kLoads; ++i) sum[0] = _mm256_xor_si256(sum[0], sum[i]);
  unsigned char rest = 0;
  for (std::int64_t done = part * kStreams; done < bytes; ++done)
    rest = static_cast<unsigned char>(rest ^ begin[done]);
  _mm256_storeu_si256(static_cast<__m256i*>(sink),
                      _mm256_xor_si256(sum[0], _mm256_set1_epi8(static_cast<char>(rest))));
}

void copy_avx2(const void* from, void* to, std::int64_t bytes) {
  const auto* source = static_cast<const __m256i*>(from);
  auto* target = static_cast<__m256i*>(to);
  for (std::int64_t i = 0; i < bytes / 32; ++i)
    _mm256_store_si256(target + i, _mm256_load_si256(source + i));
}

void copy_stream_avx2(const void* from, void* to, std::int64_t bytes) {
  const auto* source = static_cast<const __m256i*>(from);
  auto* target = static_cast<__m256i*>(to);
  for (std::int64_t i = 0; i < bytes / 32; ++i)
    _mm256_stream_si256(target + i, _mm256_load_si256(source + i));
  _mm_sfence();  // the stores count as done only when they have left the core
}

}  // namespace weft::peak
