// SPDX-License-Identifier: Apache-2.0
// matmul_allreduce_add_rmsnorm: one tensor-parallel layer in one call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/group.h"
#include "weft/packed_weight.h"
#include "weft/status.h"
#include "weft/tensor.h"
#include "weft/trace.h"

namespace weft {

namespace internal {
struct MatmulAllReduceAddRmsNormPlan;
}

/// Operands. T is the io dtype: float16 or bfloat16. m = rows of x1 (b·s), k = this rank's share of
/// the reduction, n = columns. Operands not given are left default-constructed.
struct MatmulAllReduceAddRmsNormArgs {
  /// (m, k) or (b, s, k): T or int8. Strides along k must be 1 or are gathered.
  ConstTensorRef x1;
  /// (k, n): T, int8 or int4; row-major, the transposed view of (n, k), or FRACTAL_NZ of either
  ConstTensorRef x2 = {};
  const PackedWeight* packed_x2 = nullptr;  ///< instead of x2: packed once by the caller
  /// (n): T, or int32 with int8·int8; added on every rank before the sum
  ConstTensorRef bias = {};
  /// int8·int8: (1), (n) or (1, n) of uint64/int64 (T = float16), bfloat16 (T = bfloat16)
  ConstTensorRef dequant_scale = {};
  /// T·int8/int4: T; (1), (n), (1, n) or (ceil(k / group), n)
  ConstTensorRef antiquant_scale = {};
  ConstTensorRef antiquant_offset = {};   ///< like antiquant_scale, or not given
  std::int64_t antiquant_group_size = 0;  ///< rows of k that share a scale; 0: not per group
  ConstTensorRef residual;                ///< (b, s, n): T; this rank's own, added after the sum
  ConstTensorRef gamma;                   ///< (n): T
  double epsilon = 1e-6;                  ///< in (0, 1); added to the mean square
  TensorRef y;         ///< (b, s, n): T; may be residual's memory (the in-place form)
  TensorRef norm_out;  ///< (b, s, n): T; overlaps nothing else
};

struct MatmulAllReduceAddRmsNormOptions {
  /// Rows of a super-block (dealt out to all ranks); 0: chosen by the plan. Never changes a result.
  std::int64_t super_block_rows = 0;
  /// Filled by run() when given: what this rank did when.
  Trace* trace = nullptr;
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context and Group alive.
///
///   y        = sum over ranks r, in rank order, of T(dequant(x1_r · x2_r + bias_r)) + residual
///   norm_out = y / sqrt(mean(y²) + epsilon) · gamma            (mean over n)
///
/// Sums in fp32 (int8: exact in int32); each rank's partial is rounded to T, the sum over ranks is
/// rounded once, y is rounded, y·rstd is rounded, norm_out is rounded. Every rank gets all rows;
/// bits of the sum over ranks are the same on every rank, from run to run, for every thread count,
/// tile size and transport, and do not depend on m. The definition is that of CANN's
/// aclnn{,Quant,WeightQuant}MatmulAllReduceAddRmsNorm and Inplace forms.
class WEFT_API MatmulAllReduceAddRmsNorm {
 public:
  /// Local: sends nothing. `args` gives shapes, dtypes and attributes; data pointers may be null.
  /// Errors: kInvalidArgument (operand, both values, what to do), kUnimplemented, kOutOfMemory.
  static Result<MatmulAllReduceAddRmsNorm> plan(
      Context& context, Group& group, const MatmulAllReduceAddRmsNormArgs& args,
      const MatmulAllReduceAddRmsNormOptions& options = {});

  /// Collective: every rank of the group runs the same call. `args` must have the planned shapes,
  /// dtypes and attributes; pointers are free to change. Allocates nothing on success. Errors:
  /// kInvalidArgument (differs from the plan, null data, overlap; nothing was sent), kMismatch
  /// (ranks disagree; nothing was written), kTimeout, kPeerLost (outputs undefined, group
  /// unusable).
  Status run(const MatmulAllReduceAddRmsNormArgs& args);

  /// Kernel, tiles, windows, bytes: one fact a line, for people.
  std::string describe() const;

  MatmulAllReduceAddRmsNorm(MatmulAllReduceAddRmsNorm&&) noexcept;
  MatmulAllReduceAddRmsNorm& operator=(MatmulAllReduceAddRmsNorm&&) noexcept;
  ~MatmulAllReduceAddRmsNorm();

 private:
  using Plan = internal::MatmulAllReduceAddRmsNormPlan;
  explicit MatmulAllReduceAddRmsNorm(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status matmul_allreduce_add_rmsnorm(Context& context, Group& group,
                                             const MatmulAllReduceAddRmsNormArgs& args,
                                             const MatmulAllReduceAddRmsNormOptions& options = {});

}  // namespace weft
