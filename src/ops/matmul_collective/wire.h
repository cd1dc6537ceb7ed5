// SPDX-License-Identifier: Apache-2.0
// How rows of partial sums and of sums travel between ranks: as T, or as int8 with the two
// communication scales.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/scratch.h"
#include "kernels/rows/rows.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::ops {

/// comm_quant_scale_1 and _2: (n) or (1, n) of T, or both not given: rows travel as T.
struct CommScales {
  ConstTensorRef scale_1, scale_2;
};

class Wire {
 public:
  Wire() = default;  ///< plans nothing; only to be assigned to
  static Result<Wire> plan(ScratchPool& scratch, const rows::Kernels& rows, std::int64_t n,
                           const CommScales& scales);
  /// Reads the scales of one run.
  void bind(const CommScales& scales);

  bool is_int8() const { return int8_; }
  std::int64_t row_bytes() const { return round_up(int8_ ? n_ : 2 * n_, kCacheLine); }
  std::int64_t scratch_bytes() const { return scales_.bytes(); }
  /// What a partial is divided by on its way out; null: it travels as T.
  const float* quant_scale() const { return int8_ ? scale_1() : nullptr; }

  /// The row of the sum from the ranks' rows, in rank order. All rows as they travel.
  void sum(const void* const* partials, int ranks, std::byte* to) const;
  /// Copies a row of the sum to where peers read it: past the cache, because a plain store would
  /// first read the line that it replaces.
  void publish(const std::byte* row, std::byte* to) const;
  /// A row of the sum as T. Into `scratch` (n elements of T) if it travelled as something else.
  const std::byte* decoded(const std::byte* row, std::byte* scratch) const;
  void decode(const std::byte* row, std::byte* to, rows::Store store) const;

 private:
  // fp32, n each: scale 1, scale 2, and their ratio.
  float* scale_1() const { return reinterpret_cast<float*>(scales_.data()); }
  float* scale_2() const { return scale_1() + n_; }
  float* ratio() const { return scale_2() + n_; }

  const rows::Kernels* rows_ = nullptr;
  std::int64_t n_ = 0;
  bool int8_ = false;
  Scratch scales_;
};

}  // namespace weft::ops
