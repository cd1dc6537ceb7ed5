// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/peak/kernels.h"

namespace weft::peak {

// 24 sums and 8 operands fill the 32 registers. Sums start different (pairs of bf16 read as fp32):
// equal ones would be computed once.
void bf16_dot_avx512bf16(const void* data, std::int64_t rounds, void* sink) {
  constexpr int kAccumulators = 24;
  const auto* values = static_cast<const char*>(data);
  __m512 acc[kAccumulators];
  __m512bh a[4], b[4];
#pragma GCC unroll 24
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_load_ps(values + 64 * i);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[i] = (__m512bh)_mm512_load_si512(values + 64 * i);
    b[i] = (__m512bh)_mm512_load_si512(values + 2048 + 64 * i);
  }
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 24
    for (int i = 0; i < kAccumulators; ++i)
      acc[i] = _mm512_dpbf16_ps(acc[i], a[i % 4], b[i / 4 % 4]);
#pragma GCC unroll 24
  for (int i = 1; i < kAccumulators; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  _mm512_store_ps(sink, acc[0]);
}

}  // namespace weft::peak
