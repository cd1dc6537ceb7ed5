// SPDX-License-Identifier: Apache-2.0
// One type and one operation: what turns the ranks' elements into one.
#pragma once

#include <cstdint>

#include "base/isa.h"
#include "kernels/reduce/reduce.h"
#include "kernels/rows/rows.h"
#include "weft/collectives.h"

namespace weft::ops {

class Reducer {
 public:
  /// For what is reducible().
  Reducer(DType type, ReduceOp op, isa::Set isa);
  /// The type has the operation.
  static bool reducible(DType type, ReduceOp op);

  /// dst = op over `src`, `count` arrays of `bytes` bytes, in their order. dst may be one of them.
  /// `stream` as in reduction::Reduce; a hint.
  void operator()(const void* const* src, int count, std::int64_t bytes, void* dst,
                  bool stream) const;

 private:
  void reduce_widened(const void* const* src, int count, std::int64_t n, void* dst) const;

  const int element_bytes_;
  const ReduceOp op_;
  reduction::ReduceFn reduce_ = nullptr;  // of the type, or of fp32 for the 16-bit floats
  const rows::Kernels* rows_ = nullptr;   // the 16-bit floats only
};

}  // namespace weft::ops
