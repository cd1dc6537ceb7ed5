// SPDX-License-Identifier: Apache-2.0
// moe_gating_topk_softmax: which experts every token goes to; no communication.
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
struct MoeGatingTopkSoftmaxPlan;
}

/// Operands. T is float16, bfloat16 or float32. E is the last axis of x, n the product of the
/// others. Inputs may have any strides, rows of outputs have adjacent elements.
struct MoeGatingTopkSoftmaxArgs {
  ConstTensorRef x;              ///< 2 to 8 axes, (…, E): T, the logits of each token
  ConstTensorRef finished = {};  ///< x without its last axis: bool; or not given
  std::int64_t k = 1;            ///< 0 to E
  TensorRef y;                   ///< (…, k): T
  TensorRef expert_idx;          ///< (…, k): int32
  TensorRef row_idx;             ///< (…, k): int32
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context alive.
///
///   p                = softmax(x) over the E experts, in fp32, the maximum subtracted
///   expert_idx[i, j] = the expert with the j-th largest p of token i; of equal ones the lower
///                      index comes first, and nan is less than all else
///   y[i, j]          = T(p[i, expert_idx[i, j]])
///   row_idx[i, j]    = j·n + i           what moe_init_routing takes
///
/// A token that is finished gets expert_idx E in all k places, y and row_idx as ever. A row with a
/// nan or +inf, or with nothing but -inf, has nan for every p.
///
/// No operand shares memory with an output. The bits do not depend on the number of threads, the
/// instruction set or the number of rows. The definition is that of CANN's
/// aclnnMoeGatingTopKSoftmax, which accepts less.
class WEFT_API MoeGatingTopkSoftmax {
 public:
  /// `args` gives shapes, dtypes and k; data pointers may be null. Errors: kInvalidArgument,
  /// kOutOfMemory.
  static Result<MoeGatingTopkSoftmax> plan(Context& context, const MoeGatingTopkSoftmaxArgs& args);

  /// `args` must have the planned shapes, dtypes and k; pointers are free to change. Allocates
  /// nothing on success. Error: kInvalidArgument (nothing was written).
  Status run(const MoeGatingTopkSoftmaxArgs& args);

  /// Shape, kernel, threads: one fact a line, for people.
  std::string describe() const;

  MoeGatingTopkSoftmax(MoeGatingTopkSoftmax&&) noexcept;
  MoeGatingTopkSoftmax& operator=(MoeGatingTopkSoftmax&&) noexcept;
  ~MoeGatingTopkSoftmax();

 private:
  using Plan = internal::MoeGatingTopkSoftmaxPlan;
  explicit MoeGatingTopkSoftmax(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status moe_gating_topk_softmax(Context& context, const MoeGatingTopkSoftmaxArgs& args);

}  // namespace weft
