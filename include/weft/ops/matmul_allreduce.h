// SPDX-License-Identifier: Apache-2.0
// matmul_allreduce: a row-parallel linear layer in one call.
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
struct MatmulAllReducePlan;
}

/// Operands. T is the io dtype: float16 or bfloat16. m = rows of x1 (b·s), k = this rank's share of
/// the reduction, n = columns. Operands not given are left default-constructed.
struct MatmulAllReduceArgs {
  /// (m, k) or (b, s, k): T or int8
  ConstTensorRef x1;
  /// (k, n): T, int8 or int4; row-major, the transposed view of (n, k), or FRACTAL_NZ of either
  ConstTensorRef x2 = {};
  const PackedWeight* packed_x2 = nullptr;  ///< instead of x2: packed once by the caller
  /// (n): T, or int32 with int8·int8; added on every rank before the sum
  ConstTensorRef bias = {};
  /// like output: T; added on every rank before the sum; may be output's memory
  ConstTensorRef x3 = {};
  /// int8·int8: (1), (n) or (1, n) of uint64/int64 (T = float16, no pertoken_scale), float32
  /// (T = float16 with pertoken_scale) or bfloat16 (T = bfloat16)
  ConstTensorRef dequant_scale = {};
  ConstTensorRef pertoken_scale = {};  ///< int8·int8: (m) of float32, or not given
  /// T·int8/int4: T; (1), (n), (1, n) or (ceil(k / group), n)
  ConstTensorRef antiquant_scale = {};
  ConstTensorRef antiquant_offset = {};   ///< like antiquant_scale, or not given
  std::int64_t antiquant_group_size = 0;  ///< rows of k that share a scale; 0: not per group
  /// int8·int8: T, (n) or (1, n), the same values on all ranks; both or neither. Given: partials
  /// travel as int8, see the class.
  ConstTensorRef comm_quant_scale_1 = {};
  ConstTensorRef comm_quant_scale_2 = {};
  TensorRef output;  ///< (m, n) or (b, s, n): T; overlaps nothing but x3
};

struct MatmulAllReduceOptions {
  /// Rows of a super-block (dealt out to all ranks); 0: chosen by the plan. Never changes a result.
  std::int64_t super_block_rows = 0;
  /// Filled by run() when given: what this rank did when.
  Trace* trace = nullptr;
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context and Group alive.
///
///   p_r    = T(dequant_scale · pertoken_scale · (x1_r · x2_r + bias_r)) + x3_r      (rounded to T)
///   output = T(sum over ranks r, in rank order, of p_r)
///
/// Sums in fp32 (int8: exact in int32). With k = 0 the product is zero (not with int8·int8). Every
/// rank gets all rows; its bits are the same on every rank, from run to run, for every thread
/// count, tile size and transport, and do not depend on m. With s1, s2 = comm_quant_scale_1, _2:
///
///   q_r    = int8(p_r / s1)                 int8(x): to float16, to the nearest integer, saturated
///   z      = int8(sum of q_r · (s1 / s2))   fp32; the scales of the rank that owns the row
///   output = T(z · s2)
///
/// The definition is that of CANN's aclnn{,Quant,WeightQuant}MatmulAllReduce in all their versions.
class WEFT_API MatmulAllReduce {
 public:
  /// Local: sends nothing. `args` gives shapes, dtypes and attributes; data pointers may be null.
  /// Errors: kInvalidArgument (operand, both values, what to do), kUnimplemented, kOutOfMemory.
  static Result<MatmulAllReduce> plan(Context& context, Group& group,
                                      const MatmulAllReduceArgs& args,
                                      const MatmulAllReduceOptions& options = {});

  /// Collective: every rank of the group runs the same call. `args` must have the planned shapes,
  /// dtypes and attributes; pointers are free to change. Allocates nothing on success. Errors:
  /// kInvalidArgument (differs from the plan, null data, overlap; nothing was sent), kMismatch
  /// (ranks disagree; nothing was written), kTimeout, kPeerLost (outputs undefined, group
  /// unusable).
  Status run(const MatmulAllReduceArgs& args);

  /// Kernel, tiles, windows, bytes: one fact a line, for people.
  std::string describe() const;

  MatmulAllReduce(MatmulAllReduce&&) noexcept;
  MatmulAllReduce& operator=(MatmulAllReduce&&) noexcept;
  ~MatmulAllReduce();

 private:
  using Plan = internal::MatmulAllReducePlan;
  explicit MatmulAllReduce(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status matmul_allreduce(Context& context, Group& group, const MatmulAllReduceArgs& args,
                                 const MatmulAllReduceOptions& options = {});

}  // namespace weft
