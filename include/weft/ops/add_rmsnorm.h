// SPDX-License-Identifier: Apache-2.0
// add_rmsnorm: residual add and RMSNorm of this rank's rows; no communication.
#pragma once

#include <memory>
#include <string>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft {

namespace internal {
struct AddRmsNormPlan;
}

/// Operands. T is float16, bfloat16 or float32. The last gamma.rank() axes are normalised.
struct AddRmsNormArgs {
  ConstTensorRef x1;      ///< any shape of 1 to 8 axes: T
  ConstTensorRef x2;      ///< like x1
  ConstTensorRef gamma;   ///< the trailing axes of x1 (1 or more): T
  double epsilon = 1e-6;  ///< in (0, 1); added to the mean square
  TensorRef y;            ///< like x1: the normalised result
  TensorRef rstd = {};    ///< like x1 with 1 for every normalised axis: float32; or not given
  TensorRef x;            ///< like x1: the sum; may be the memory of x1 or of x2
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context alive.
///
///   x    = T(x1 + x2)
///   rstd = 1 / sqrt(mean(x²) + epsilon)      fp32; mean over the normalised axes
///   y    = T(T(x · rstd) · gamma)            float32: y = x · rstd · gamma
///
/// The bits do not depend on the number of threads, the instruction set or the number of rows. The
/// definition is that of CANN's aclnnAddRmsNorm.
class WEFT_API AddRmsNorm {
 public:
  /// `args` gives shapes and dtypes; data pointers may be null. Errors: kInvalidArgument,
  /// kOutOfMemory.
  static Result<AddRmsNorm> plan(Context& context, const AddRmsNormArgs& args);

  /// `args` must have the planned shapes and dtypes; pointers are free to change. Allocates nothing
  /// on success. Error: kInvalidArgument (nothing was written).
  Status run(const AddRmsNormArgs& args);

  /// Kernel, rows, threads: one fact a line, for people.
  std::string describe() const;

  AddRmsNorm(AddRmsNorm&&) noexcept;
  AddRmsNorm& operator=(AddRmsNorm&&) noexcept;
  ~AddRmsNorm();

 private:
  using Plan = internal::AddRmsNormPlan;
  explicit AddRmsNorm(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status add_rmsnorm(Context& context, const AddRmsNormArgs& args);

}  // namespace weft
