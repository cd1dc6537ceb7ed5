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

/// A row on its way to the outputs of this rank, as it travelled.
struct ArrivedRow {
  const void* const* parts;  ///< the ranks' rows, to be added in this order; or their sum alone
  int count;                 ///< of parts
  bool is_sum;               ///< parts is the sum, made by its owner
  std::byte* published;      ///< where peers read the sum, which this rank makes; or null
  std::byte* scratch;        ///< a row of this thread
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

  /// The sum as T; published on the way, past the cache, because a plain store would first read
  /// the line that it replaces.
  void finish(const ArrivedRow& row, std::byte* to, rows::Store store) const;

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
