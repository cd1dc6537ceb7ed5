// SPDX-License-Identifier: Apache-2.0
// The functions behind kernels.inc.
#pragma once

#include <cstdint>

namespace weft::peak {

inline constexpr int kDataBytes = 4096;  // two tiles of A, two of B
inline constexpr int kSinkBytes = 1024;  // one tile

/// Runs `rounds` rounds on kDataBytes of random data; stores what it computed to `sink`
/// (kSinkBytes) so that the compiler can't drop it. Both 64-byte aligned.
using ComputeFn = void (*)(const void* data, std::int64_t rounds, void* sink);
/// Reads all bytes; stores something that depends on all of them to `sink`.
using ReadFn = void (*)(const void* data, std::int64_t bytes, void* sink);
/// bytes is a multiple of 512, both pointers are 64-byte aligned.
using CopyFn = void (*)(const void* from, void* to, std::int64_t bytes);

#define WEFT_PEAK_COMPUTE(isa, name, type, ops, fn) \
  void fn(const void* data, std::int64_t rounds, void* sink);
#define WEFT_PEAK_MEMORY(isa, read, copy, copy_stream)         \
  void read(const void* data, std::int64_t bytes, void* sink); \
  void copy(const void* from, void* to, std::int64_t bytes);
#include "kernels/peak/kernels.inc"
#undef WEFT_PEAK_COMPUTE
#undef WEFT_PEAK_MEMORY
void copy_stream_avx2(const void* from, void* to, std::int64_t bytes);
void copy_stream_avx512(const void* from, void* to, std::int64_t bytes);

}  // namespace weft::peak
