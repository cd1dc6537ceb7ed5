// SPDX-License-Identifier: Apache-2.0
// The reduce family: arrays of the same length become one, element by element, in a fixed order. In
// the arithmetic of the type itself, so the 16-bit floats are not here: rows has their sum, and
// widens them for the rest.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/isa.h"
#include "weft/dtype.h"

namespace weft::reduction {

/// Order of the functions in Kernels. kAvg is for floats, the bitwise ones are for integers.
enum class Op { kSum, kProd, kMax, kMin, kAvg, kBand, kBor, kBxor };
inline constexpr int kOps = 8;

/// dst[j] = ((src[0][j] op src[1][j]) op src[2][j]) …
/// kAvg:    the sum of them · (1 / count), which is rounded to the type before it multiplies
///
/// Integers wrap. max and min of floats: a nan among the elements gives a nan; of +0 and -0 they
/// give the later one. All ISAs give the same bits (of a nan: only that it is one).
struct Reduce {
  const void* const* src;  // count pointers, of any alignment
  int count;               // at least 1
  std::int64_t n;          // elements
  void* dst;               // may be one of src
  bool stream;  // write past the cache from the first 64-byte boundary on; end with stream_fence()
};
using ReduceFn = void (*)(const Reduce&);

/// dst = src, `bytes` of them; `stream` as above.
using CopyFn = void (*)(const void* src, void* dst, std::int64_t bytes, bool stream);

/// The functions of one ISA for one type.
struct Kernels {
  std::string_view name;  ///< reduce_<type>_<isa>
  isa::Set isa;
  DType type;
  const ReduceFn* reduce;  ///< by Op; null: the type has no such operation
};
struct Copy {
  std::string_view name;  ///< copy_<isa>
  isa::Set isa;
  CopyFn copy;
};

/// All rows of kernels.inc, best first.
std::span<const Kernels> kernels();
std::span<const Copy> copies();
/// The best row among `available`; null if the type has none.
const Kernels* select(DType type, isa::Set available);
CopyFn select_copy(isa::Set available);

/// Makes earlier streamed writes of this thread visible before later stores (sfence).
void stream_fence();

}  // namespace weft::reduction
