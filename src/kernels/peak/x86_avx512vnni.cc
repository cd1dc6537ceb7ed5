// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/peak/kernels.h"

namespace weft::peak {

// u8 · s8; sums wrap around. They start different: equal ones would be computed once.
void int8_vnni_avx512vnni(const void* data, std::int64_t rounds, void* sink) {
  constexpr int kAccumulators = 24;
  const auto* values = static_cast<const char*>(data);
  __m512i acc[kAccumulators], a[4], b[4];
#pragma GCC unroll 24
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_load_si512(values + 64 * i);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_load_si512(values + 64 * i);
    b[i] = _mm512_load_si512(values + 2048 + 64 * i);
  }
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 24
    for (int i = 0; i < kAccumulators; ++i)
      acc[i] = _mm512_dpbusd_epi32(acc[i], a[i % 4], b[i / 4 % 4]);
#pragma GCC unroll 24
  for (int i = 1; i < kAccumulators; ++i) acc[0] = _mm512_xor_si512(acc[0], acc[i]);
  _mm512_store_si512(sink, acc[0]);
}

}  // namespace weft::peak
