// SPDX-License-Identifier: Apache-2.0
// moe_combine_add_rmsnorm: moe_combine, residual and RMSNorm in one pass over each token.
#pragma once

#include <memory>
#include <string>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/group.h"
#include "weft/ops/moe_combine.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft {

namespace internal {
struct MoeCombineAddRmsNormPlan;
}

/// Operands of one rank.
struct MoeCombineAddRmsNormArgs {
  MoeCombineArgs combine;  ///< combine.x: what the norm is applied to, rounded to T
  /// (Bs, H) or three axes with Bs rows, rows with adjacent elements: T. May be combine.x's memory.
  ConstTensorRef residual_x;
  ConstTensorRef gamma;  ///< (H), any stride: T
  float norm_eps = 1e-6f;
  TensorRef y;     ///< like combine.x
  TensorRef rstd;  ///< Bs elements, one to three axes, dense: float32
};

using MoeCombineAddRmsNormOptions = MoeCombineOptions;

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context and Group alive.
///
///   f[t]    = what moe_combine rounds to T + residual_x[t]              fp32
///   x[t]    = T(f[t])
///   rstd[t] = 1 / sqrt(mean(f[t]²) + norm_eps)                          fp32
///   y[t]    = T(T(f[t] · rstd[t]) · gamma)
///
/// The norm is that of f before it is rounded. Rows of tokens that are not active are not written.
/// Everything else is as in MoeCombine. The definition is that of CANN's
/// aclnnMoeDistributeCombineAddRmsNorm and V2, which take bfloat16 alone.
class WEFT_API MoeCombineAddRmsNorm {
 public:
  /// As MoeCombine::plan.
  static Result<MoeCombineAddRmsNorm> plan(Context& context, Group& group,
                                           const MoeCombineAddRmsNormArgs& args,
                                           const MoeCombineAddRmsNormOptions& options = {});
  /// As MoeCombine::run.
  Status run(const MoeCombineAddRmsNormArgs& args);

  /// Experts, rows, window: one fact a line, for people.
  std::string describe() const;

  MoeCombineAddRmsNorm(MoeCombineAddRmsNorm&&) noexcept;
  MoeCombineAddRmsNorm& operator=(MoeCombineAddRmsNorm&&) noexcept;
  ~MoeCombineAddRmsNorm();

 private:
  using Plan = internal::MoeCombineAddRmsNormPlan;
  explicit MoeCombineAddRmsNorm(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status moe_combine_add_rmsnorm(Context& context, Group& group,
                                        const MoeCombineAddRmsNormArgs& args,
                                        const MoeCombineAddRmsNormOptions& options = {});

}  // namespace weft
