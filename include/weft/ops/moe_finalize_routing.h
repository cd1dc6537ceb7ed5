// SPDX-License-Identifier: Apache-2.0
// moe_finalize_routing: the rows of a token's experts become one again; no communication.
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
struct MoeFinalizeRoutingPlan;
}

/// Where expanded_row_idx has the row of token i's j-th expert.
enum class ExpandedRowOrder : std::uint8_t {
  kColumnMajor,  ///< at j·n + i: what moe_init_routing gives, CANN's dropPadMode 0 and 1
  kRowMajor,     ///< at i·K + j: what later versions of it give, CANN's dropPadMode 2 and 3
};

/// Operands. T is float16, bfloat16 or float32. n is the rows of out, K the elements of
/// expanded_row_idx divided by n. Inputs may have any strides, rows of out have adjacent elements.
struct MoeFinalizeRoutingArgs {
  ConstTensorRef expanded_x;        ///< (rows, H), or (E, C, H) with E·C rows: T
  ConstTensorRef expanded_row_idx;  ///< (n·K): int32, -1 to rows - 1; -1: no row
  ConstTensorRef x1 = {};           ///< (n, H): T; or not given
  ConstTensorRef x2 = {};           ///< (n, H): T; or not given
  ConstTensorRef bias = {};         ///< (E, H): T; or not given
  ConstTensorRef scales = {};       ///< (n, K): T, with bfloat16 also float32; not given: all 1
  ConstTensorRef expert_idx = {};   ///< (n, K): int32, 0 to E - 1; needed with bias
  ExpandedRowOrder order = ExpandedRowOrder::kColumnMajor;
  TensorRef out;  ///< (n, H): T; may be exactly the memory of x1 or of x2
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context alive.
///
///   out[i] = x1[i] + x2[i] + sum over j of scales[i, j] · (expanded_x[r] + bias[expert_idx[i, j]])
///
/// with r from expanded_row_idx. An r of -1 contributes nothing, not its bias either, and its
/// expert_idx is not looked at. The sum begins with x1 + x2 (or the one given, or the first term)
/// and adds the terms in rising j. float16 rounds every operation to float16; float32 is fp32
/// throughout; bfloat16 computes in fp32 and rounds once. No terms at all give zeros.
///
/// No other operand shares memory with out. The bits do not depend on the number of threads, the
/// instruction set or the number of rows. The definition is that of CANN's aclnnMoeFinalizeRouting
/// and V2, which accept less.
class WEFT_API MoeFinalizeRouting {
 public:
  /// `args` gives shapes, dtypes and order; data pointers may be null. Errors: kInvalidArgument,
  /// kOutOfMemory.
  static Result<MoeFinalizeRouting> plan(Context& context, const MoeFinalizeRoutingArgs& args);

  /// `args` must have the planned shapes, dtypes and order; pointers are free to change. Allocates
  /// nothing on success. Error: kInvalidArgument, also for an index out of range (nothing was
  /// written).
  Status run(const MoeFinalizeRoutingArgs& args);

  /// Shape, kernel, threads: one fact a line, for people.
  std::string describe() const;

  MoeFinalizeRouting(MoeFinalizeRouting&&) noexcept;
  MoeFinalizeRouting& operator=(MoeFinalizeRouting&&) noexcept;
  ~MoeFinalizeRouting();

 private:
  using Plan = internal::MoeFinalizeRoutingPlan;
  explicit MoeFinalizeRouting(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status moe_finalize_routing(Context& context, const MoeFinalizeRoutingArgs& args);

}  // namespace weft
