// SPDX-License-Identifier: Apache-2.0
// moe_dispatch: every token travels to the ranks of its experts, in one call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/group.h"
#include "weft/ops/moe_experts.h"
#include "weft/status.h"
#include "weft/tensor.h"
#include "weft/trace.h"

namespace weft {

namespace internal {
struct MoeDispatchPlan;
}

/// Operands of one rank. T is float16 or bfloat16. Bs, the tokens of this rank, may be any number
/// on each rank, also 0; H and K are the same on all. L = local_expert_num(experts, rank, ranks). A
/// is the number of rows that expand_x can take. Operands not given are left default-constructed.
struct MoeDispatchArgs {
  ConstTensorRef x;           ///< (Bs, H), rows with adjacent elements: T
  ConstTensorRef expert_ids;  ///< (Bs, K), any strides: int32, distinct within a row
  /// (shared_expert_num + E, H), rows with adjacent elements: float32. With int8 rows only: what a
  /// token is multiplied with before it is quantised, one row for each shared and routed expert.
  ConstTensorRef scales = {};
  /// (Bs) or (Bs, K), any strides: bool. (Bs): as many tokens are active as there are ones, the
  /// first ones. (Bs, K): entry (t, k) is active if it is set; a token is if any of its K is.
  ConstTensorRef x_active_mask = {};
  MoeExperts experts;
  /// expert_token_nums are counts, or sums: the row after the last one of each expert.
  bool tokens_are_ends = false;

  /// (A, H), rows with adjacent elements, with TP dense: T, or int8 to quantise each row
  TensorRef expand_x;
  TensorRef dynamic_scales = {};  ///< (A), dense: float32, needed with int8 rows
  /// (3·A) or more, dense: int32, where each row came from. May be left out if no combine follows.
  TensorRef assist_info_for_combine = {};
  TensorRef expert_token_nums;    ///< (L), dense: int64
  TensorRef ep_recv_counts;       ///< (ranks·L) or more, dense, twice as much with TP: int32
  TensorRef tp_recv_counts = {};  ///< (2), dense, needed with TP: int32
};

/// Entries of this rank's expert_ids in one call.
struct MoeDispatchCounts {
  std::int64_t rows_sent = 0;     ///< rows that appear at experts, the own rank's included
  std::int64_t out_of_range = 0;  ///< active entries of no expert; they are not sent
  std::int64_t doubled = 0;       ///< active entries whose token has the expert already; sent again
};

struct MoeDispatchOptions {
  /// The two ranks that hold the same experts, each with its half of the weights, and tokens of
  /// their own; every rank is in one group of experts and in one such pair. Each gets the rows of
  /// both. Must outlive the plan; null: no TP.
  Group* tp_group = nullptr;
  MoeDispatchCounts* counts = nullptr;  ///< if not null, filled by run(); must outlive the plan
  Trace* trace = nullptr;               ///< if not null, filled by run(); must outlive the plan
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context and Group alive.
///
/// Rows of expand_x: for each local expert, for each source rank (this one included), in the order
/// of (t, k), a copy of token t of every active entry (t, k) with that expert. On a rank with a
/// shared expert: for each source rank that sends to it, its active tokens. Packed without gaps; n
/// rows in all. What lies behind them is not written, in any output.
///
///   ep_recv_counts[i·ranks + s]    rows up to and including those of local expert i from rank s
///   expert_token_nums[i]           rows of local expert i; with tokens_are_ends the sum so far
///   assist_info_for_combine[3·j]   of row j: its source rank; behind it t; then k, or K + j for
///                                  shared expert j
///
/// Rows are copied bit by bit, or with an int8 expand_x quantised by the rank they come from:
///
///   v = float(x) · scales      (if given)         d = 127 / max |v|
///   expand_x = v · d to the nearest integer, ties to even      dynamic_scales = 1 / d
///
/// in fp32, each operation rounded. A row of zeros (or with d not finite) gives zeros and scale 0;
/// nan gives 0, infinity ±127.
///
/// With TP (P = number of ranks without a shared expert must be E): the rows of the other rank of
/// the pair follow the own n, in their order, also in dynamic_scales; ep_recv_counts has their sums
/// behind the own ones, counted from 0; tp_recv_counts = rows of the pair's rank 0 and of rank 1;
/// expert_token_nums[0] counts both.
///
/// Collective: every rank of the group (and of the pair) makes the call. The bits depend on the
/// operands alone. The definition is that of CANN's aclnnMoeDistributeDispatchV2 and V3, which
/// accept less.
class WEFT_API MoeDispatch {
 public:
  /// `args` gives shapes, dtypes and attributes; data pointers may be null. Local: asks no other
  /// rank. Errors: kInvalidArgument (operand, both values, what to do; a window in which the rows
  /// of one token have no room), kOutOfMemory.
  static Result<MoeDispatch> plan(Context& context, Group& group, const MoeDispatchArgs& args,
                                  const MoeDispatchOptions& options = {});

  /// `args` must have the planned shapes, dtypes and attributes; pointers are free to change.
  /// Allocates nothing on success. Errors: kInvalidArgument (differs from the plan, null data,
  /// overlap: nothing was sent; or more rows than some rank's expand_x takes: the same error on all
  /// ranks, nothing was written and the group stays usable; with TP the groups do not, and rows may
  /// have been written), kMismatch (ranks disagree;
  /// nothing was written), kTimeout, kPeerLost (outputs undefined, group unusable).
  Status run(const MoeDispatchArgs& args);

  /// Experts, rows, window: one fact a line, for people.
  std::string describe() const;

  MoeDispatch(MoeDispatch&&) noexcept;
  MoeDispatch& operator=(MoeDispatch&&) noexcept;
  ~MoeDispatch();

 private:
  using Plan = internal::MoeDispatchPlan;
  explicit MoeDispatch(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status moe_dispatch(Context& context, Group& group, const MoeDispatchArgs& args,
                             const MoeDispatchOptions& options = {});

}  // namespace weft
