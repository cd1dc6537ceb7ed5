// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

namespace weft::reduction {
namespace {

constexpr bool kStreams = true;
inline void stream_line(void* to, const void* from) {
  const auto* halves = static_cast<const __m256i*>(from);
  _mm256_stream_si256(static_cast<__m256i*>(to), _mm256_loadu_si256(halves));
  _mm256_stream_si256(static_cast<__m256i*>(to) + 1, _mm256_loadu_si256(halves + 1));
}

}  // namespace
}  // namespace weft::reduction

#include "kernels/reduce/generic.h"

namespace weft::reduction {

#define WEFT_REDUCE_TYPE(enumerator, name, type) WEFT_REDUCE_DEFINE(name##_avx2, type)
#include "kernels/reduce/types.inc"
#undef WEFT_REDUCE_TYPE

void copy_avx2(const void* src, void* dst, std::int64_t bytes, bool stream) {
  copy(src, dst, bytes, stream);
}

}  // namespace weft::reduction
