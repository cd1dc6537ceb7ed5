// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/reduce/reduce.h"

namespace weft::reduction {

#define WEFT_REDUCE(bit, dtype, suffix) extern const ReduceFn reduce_##suffix[kOps];
#define WEFT_REDUCE_COPY(bit, suffix) void copy_##suffix(const void*, void*, std::int64_t, bool);
#include "kernels/reduce/kernels.inc"
#undef WEFT_REDUCE
#undef WEFT_REDUCE_COPY

namespace {

constexpr Kernels kTable[] = {
#define WEFT_REDUCE(bit, dtype, suffix) \
  {"reduce_" #suffix, isa::bit, DType::dtype, reduce_##suffix},
#define WEFT_REDUCE_COPY(bit, suffix)
#include "kernels/reduce/kernels.inc"
#undef WEFT_REDUCE
#undef WEFT_REDUCE_COPY
};

constexpr Copy kCopies[] = {
#define WEFT_REDUCE(bit, dtype, suffix)
#define WEFT_REDUCE_COPY(bit, suffix) {"copy_" #suffix, isa::bit, copy_##suffix},
#include "kernels/reduce/kernels.inc"
#undef WEFT_REDUCE
#undef WEFT_REDUCE_COPY
};

bool fits(isa::Set needed, isa::Set available) {
  return (needed & ~(available | isa::kScalar)) == 0;
}

}  // namespace

std::span<const Kernels> kernels() { return kTable; }
std::span<const Copy> copies() { return kCopies; }

const Kernels* select(DType type, isa::Set available) {
  for (const Kernels& row : kTable)
    if (row.type == type && fits(row.isa, available)) return &row;
  return nullptr;
}

CopyFn select_copy(isa::Set available) {
  for (const Copy& row : kCopies)
    if (fits(row.isa, available)) return row.copy;
  return nullptr;
}

void stream_fence() { _mm_sfence(); }

}  // namespace weft::reduction
