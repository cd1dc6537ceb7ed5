// SPDX-License-Identifier: Apache-2.0
// Weights as the kernels take them: where each lies, with its bias and its scales beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/scratch.h"
#include "kernels/gemm/batch.h"
#include "kernels/rows/rows.h"
#include "weft/packed_weight.h"
#include "weft/tensor.h"

namespace weft::ops {

/// A weight and what belongs to it. With experts, all operands have them as their first axis.
struct WeightOperands {
  ConstTensorRef weight;                 ///< ([experts,] k, n); or
  const PackedWeight* packed = nullptr;  ///< this one
  ConstTensorRef bias;                   ///< ([experts,] n), of 16 or 32 bits; or not given
  ConstTensorRef dequant_scale;          ///< of int8 products: ([experts,] [1,] 1 or n)
  /// Keep the upper 19 bits of the fp32 scale in 32 and 64-bit words: what CANN's devices use.
  bool truncate_dequant_scale = false;
  /// Of weights to be restored: ([experts,] 1 or n), or ([experts,] groups, n) with group_size rows
  /// of k in a group.
  ConstTensorRef antiquant_scale, antiquant_offset;
  std::int64_t group_size = 0;

  bool has_experts() const { return packed ? packed->experts() > 0 : weight.rank() == 3; }
  std::int64_t k() const { return packed ? packed->k() : weight.dim(weight.rank() - 2); }
  std::int64_t n() const { return packed ? packed->n() : weight.dim(weight.rank() - 1); }
};

/// One weight, ready for a product.
struct BoundWeight {
  gemm::Weight weight;
  const void* bias = nullptr;    ///< of acc's type, as gemm::Product wants it; or null
  const float* scale = nullptr;  ///< of int8 products: scale[j * scale_step]
  int scale_step = 0;
};

class BoundWeights {
 public:
  BoundWeights() = default;  ///< plans nothing; only to be assigned to
  /// Room for `slots` weights at a time. `rows` is that of the operator's T.
  static Result<BoundWeights> plan(ScratchPool& scratch, const gemm::Kernel& kernel,
                                   const rows::Kernels& rows, const WeightOperands& operands,
                                   std::int64_t slots);

  /// Reads the small operands of one expert (0: of the one weight) into a slot. What lies as the
  /// kernels want it is left where it is.
  BoundWeight bind(const WeightOperands& operands, std::int64_t expert, std::int64_t slot) const;

  /// How the weights lie; no data.
  static gemm::Weight layout_of(const gemm::Kernel& kernel, const WeightOperands& operands);

  std::int64_t bytes() const { return slots_.bytes(); }

 private:
  const gemm::Kernel* kernel_ = nullptr;
  const rows::Kernels* rows_ = nullptr;
  Scratch slots_;  // of each: bias, dequant scale, antiquant scale and offset
  std::int64_t scale_at_ = 0, antiquant_at_ = 0, offset_at_ = 0, slot_bytes_ = 0;
};

}  // namespace weft::ops
