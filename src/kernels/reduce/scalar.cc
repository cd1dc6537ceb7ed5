// SPDX-License-Identifier: Apache-2.0
// Compiled for the baseline of the architecture.
namespace weft::reduction {
namespace {

constexpr bool kStreams = false;
inline void stream_line(void*, const void*) {}  // never called

}  // namespace
}  // namespace weft::reduction

#include "kernels/reduce/generic.h"

namespace weft::reduction {

#define WEFT_REDUCE_TYPE(enumerator, name, type) WEFT_REDUCE_DEFINE(name##_scalar, type)
#include "kernels/reduce/types.inc"
#undef WEFT_REDUCE_TYPE

void copy_scalar(const void* src, void* dst, std::int64_t bytes, bool stream) {
  copy(src, dst, bytes, stream);
}

}  // namespace weft::reduction
