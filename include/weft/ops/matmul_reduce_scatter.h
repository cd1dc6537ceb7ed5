// SPDX-License-Identifier: Apache-2.0
// matmul_reduce_scatter: a row-parallel linear layer whose output is split by rows (sequence
// parallel) in one call.
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
struct MatmulReduceScatterPlan;
}

/// Operands. T is the io dtype: float16 or bfloat16. m = rows of x1, a multiple of the ranks W;
/// k = this rank's share of the reduction, n = columns. Operands not given are left
/// default-constructed.
struct MatmulReduceScatterArgs {
  ConstTensorRef x1;  ///< (m, k): T or int8; not a transposed view
  /// (k, n): like x1; row-major, the transposed view of (n, k), or FRACTAL_NZ of either
  ConstTensorRef x2 = {};
  const PackedWeight* packed_x2 = nullptr;  ///< instead of x2: packed once by the caller
  /// (n): T, or int32 with int8·int8; added on every rank before the sum
  ConstTensorRef bias = {};
  /// int8·int8: (m, 1) or (m) of float32, one factor a row; may be left out with packed x2_scale
  ConstTensorRef x1_scale = {};
  /// int8·int8: (1), (n) or (1, n) of float32, or of uint64/int64 packed scales (T = float16)
  ConstTensorRef x2_scale = {};
  TensorRef output;  ///< (m / W, n): T; overlaps nothing else
};

struct MatmulReduceScatterOptions {
  /// Rows of a super-block (a slice of every rank's rows); 0: chosen by the plan. Never changes a
  /// result.
  std::int64_t super_block_rows = 0;
  /// Filled by run() when given: what this rank did when.
  Trace* trace = nullptr;
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context and Group alive.
///
///   p_r    = T(x1_scale · x2_scale · (x1_r · x2_r + bias_r))
///   output = rows [rank · m / W, (rank + 1) · m / W) of T(sum over ranks r, in rank order, of p_r)
///
/// Sums in fp32 (int8: exact in int32). The bits of a row are those matmul_allreduce gives it. The
/// definition is that of CANN's aclnnMatmulReduceScatter, and of its second version for int8.
class WEFT_API MatmulReduceScatter {
 public:
  /// Local: sends nothing. `args` gives shapes, dtypes and attributes; data pointers may be null.
  /// Errors: kInvalidArgument (operand, both values, what to do), kUnimplemented, kOutOfMemory.
  static Result<MatmulReduceScatter> plan(Context& context, Group& group,
                                          const MatmulReduceScatterArgs& args,
                                          const MatmulReduceScatterOptions& options = {});

  /// Collective: every rank of the group runs the same call. `args` must have the planned shapes,
  /// dtypes and attributes; pointers are free to change. Allocates nothing on success. Errors:
  /// kInvalidArgument (differs from the plan, null data, overlap; nothing was sent), kMismatch
  /// (ranks disagree; nothing was written), kTimeout, kPeerLost (outputs undefined, group
  /// unusable).
  Status run(const MatmulReduceScatterArgs& args);

  /// Kernel, tiles, windows, bytes: one fact a line, for people.
  std::string describe() const;

  MatmulReduceScatter(MatmulReduceScatter&&) noexcept;
  MatmulReduceScatter& operator=(MatmulReduceScatter&&) noexcept;
  ~MatmulReduceScatter();

 private:
  using Plan = internal::MatmulReduceScatterPlan;
  explicit MatmulReduceScatter(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status matmul_reduce_scatter(Context& context, Group& group,
                                      const MatmulReduceScatterArgs& args,
                                      const MatmulReduceScatterOptions& options = {});

}  // namespace weft
