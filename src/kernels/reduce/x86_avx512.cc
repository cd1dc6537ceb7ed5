// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

namespace weft::reduction {
namespace {

constexpr bool kStreams = true;
inline void stream_line(void* to, const void* from) {
  _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
}

}  // namespace
}  // namespace weft::reduction

#include "kernels/reduce/generic.h"

namespace weft::reduction {

#define WEFT_REDUCE_TYPE(enumerator, name, type) WEFT_REDUCE_DEFINE(name##_avx512, type)
#include "kernels/reduce/types.inc"
#undef WEFT_REDUCE_TYPE

void copy_avx512(const void* src, void* dst, std::int64_t bytes, bool stream) {
  copy(src, dst, bytes, stream);
}

}  // namespace weft::reduction
