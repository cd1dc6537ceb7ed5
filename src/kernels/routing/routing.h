// SPDX-License-Identifier: Apache-2.0
// The routing family: what a mixture of experts does to a row of logits and to the rows that come
// back from its experts. T is float16, bfloat16 or float32. Conversions round to nearest, ties to
// even. All ISAs give the same bits (of a nan: only that it is one): sums have a fixed order, and
// no product is fused with a sum.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/isa.h"
#include "kernels/rows/rows.h"
#include "weft/dtype.h"

namespace weft::routing {

/// p = softmax of a row of n elements, n at least 1, in fp32:
///
///   m    = max over j of x[j], nan left out
///   e[j] = exp(x[j] - m)                 the exp of activation.h
///   s    = sum over j of e[j]            lane l of 32 adds j = l, l + 32, … in this order; then
///                                        the lanes as a tree: l + (l ^ 16), then 8, 4, 2, 1
///   p[j] = e[j] / s
///
/// Every p is nan if an x is nan or inf, or all are -inf. p has room for whole lines of 32
/// elements; what it has beyond n is not specified.
using SoftmaxRowFn = void (*)(const void* x, std::int64_t n, float* p);

/// The places of the k largest of n values, largest first; of equal ones (-0 equals 0) the one with
/// the lower index is first, and nan counts as less than all else. 1 <= k <= n < 2^31. `scratch`
/// has room for k numbers. At worst O(n·k) for k up to 32, O(n·log k) above.
using TopKFn = void (*)(const float* values, std::int64_t n, std::int64_t k, std::uint64_t* scratch,
                        std::int32_t* index);

/// One token's sum over its experts:
///
///   a    = x1 + x2, or the one that is given
///   t    = row[r] + bias[r] (if given), then · scale[r] (if given)
///   out  = a + t of r = 0, + t of r = 1, …     without x1 and x2: the first t, + the next, …
///
/// float16: every operation is rounded to float16. Else the operations are those of fp32, and out
/// is rounded once. Nothing at all gives zeros. out may be x1 or x2.
struct CombineRow {
  std::int64_t n;          // elements of a row
  std::int64_t count = 0;  // rows, may be 0
  const void* const* row;
  const void* const* bias = nullptr;  // one for each row, or null
  const float* scale = nullptr;       // one for each row, values of T or of fp32; or null
  const void* x1 = nullptr;
  const void* x2 = nullptr;
  void* out;
  rows::Store store = rows::Store::kPlain;
};
using CombineRowFn = void (*)(const CombineRow&);

/// The functions of one ISA for one T.
struct Kernels {
  std::string_view name;  ///< routing_<T>_<isa>
  isa::Set isa;
  DType type;
  SoftmaxRowFn softmax_row;
  TopKFn top_k;  ///< does not depend on T
  CombineRowFn combine_row;
};

/// All rows of kernels.inc, best first within a type.
std::span<const Kernels> kernels();
/// The best row for T among `available`; never null (scalar is always there).
const Kernels& select(DType type, isa::Set available);

}  // namespace weft::routing
