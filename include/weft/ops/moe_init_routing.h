// SPDX-License-Identifier: Apache-2.0
// moe_init_routing: the rows of tokens in the order of their experts; no communication.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft {

namespace internal {
struct MoeInitRoutingPlan;
}

/// Operands. T is float16, bfloat16 or float32. Inputs may have any strides, rows of outputs have
/// adjacent elements.
struct MoeInitRoutingArgs {
  ConstTensorRef x;               ///< (n, H): T
  ConstTensorRef row_idx;         ///< (n, K): int32, 0 to n·K - 1; j·n + i from the gating
  ConstTensorRef expert_idx;      ///< (n, K): int32, any values
  std::int64_t active_num = 0;    ///< 0 or more: how many tokens' worth of rows are copied
  TensorRef expanded_x;           ///< (min(active_num, n)·K, H): T
  TensorRef expanded_row_idx;     ///< (n·K): int32
  TensorRef expanded_expert_idx;  ///< (n·K): int32
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context alive.
///
/// The n·K pairs (expert_idx, row_idx), taken in row-major order, are sorted by expert_idx,
/// ascending; equal ids keep their order. With R[i] the row_idx of the i-th pair then:
///
///   expanded_expert_idx[i]    = its expert_idx
///   expanded_row_idx[R[i]]    = i              (j·n + i ↦ where token i's j-th copy is)
///   expanded_x[i]             = x[R[i] mod n]
///
/// row_idx is a permutation as a rule. If it has a number twice the later position counts, and what
/// no number names in expanded_row_idx isn't written.
///
/// No operand shares memory with an output. The result does not depend on the number of threads.
/// The definition is that of CANN's aclnnMoeInitRouting (its first version).
class WEFT_API MoeInitRouting {
 public:
  /// `args` gives shapes, dtypes and active_num; data pointers may be null. Errors:
  /// kInvalidArgument, kOutOfMemory.
  static Result<MoeInitRouting> plan(Context& context, const MoeInitRoutingArgs& args);

  /// `args` must have the planned shapes, dtypes and active_num; pointers are free to change.
  /// Allocates nothing on success. Error: kInvalidArgument, also for a row_idx out of range
  /// (nothing was written).
  Status run(const MoeInitRoutingArgs& args);

  /// Shape, rows, threads: one fact a line, for people.
  std::string describe() const;

  MoeInitRouting(MoeInitRouting&&) noexcept;
  MoeInitRouting& operator=(MoeInitRouting&&) noexcept;
  ~MoeInitRouting();

 private:
  using Plan = internal::MoeInitRoutingPlan;
  explicit MoeInitRouting(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status moe_init_routing(Context& context, const MoeInitRoutingArgs& args);

}  // namespace weft
