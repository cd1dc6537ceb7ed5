// SPDX-License-Identifier: Apache-2.0
// moe_combine: the rows that experts returned travel back to their tokens, weighted and added, in
// one call.
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
struct MoeCombinePlan;
}

/// Operands of one rank, as for the moe_dispatch before it, whose outputs it takes. T is float16 or
/// bfloat16. Operands not given are left default-constructed.
struct MoeCombineArgs {
  /// (A, H), rows with adjacent elements, with TP dense: T. What the experts made of the rows of
  /// dispatch, each in the place of its row. Rows that dispatch did not write are not read.
  ConstTensorRef expand_x;
  ConstTensorRef expert_ids;               ///< (Bs, K), any strides: int32
  ConstTensorRef assist_info_for_combine;  ///< as dispatch wrote it, dense: int32
  ConstTensorRef ep_send_counts;           ///< ep_recv_counts of dispatch, dense: int32
  ConstTensorRef expert_scales;            ///< (Bs, K), any strides: float32
  ConstTensorRef tp_send_counts = {};  ///< tp_recv_counts of dispatch, dense, needed with TP: int32
  ConstTensorRef x_active_mask = {};   ///< as for dispatch
  /// (Bs, H) or three axes with Bs rows, rows with adjacent elements: T. Not with shared ranks.
  ConstTensorRef shared_expert_x = {};
  /// (Bs, H), rows with adjacent elements: T, the tokens. Needed with copy and const experts.
  ConstTensorRef ori_x = {};
  /// (const_expert_num) or (const_expert_num, H), dense, and (const_expert_num, H), rows with
  /// adjacent elements: T. Needed with const experts.
  ConstTensorRef const_expert_alpha_1 = {}, const_expert_alpha_2 = {}, const_expert_v = {};
  MoeExperts experts;
  /// Rows travel as int8 with a scale for every 8 elements (comm_quant_mode 2). Loses bits. Not
  /// with TP.
  bool int8_communication = false;

  TensorRef x;  ///< (Bs, H) or three axes with Bs rows, rows with adjacent elements: T
};

struct MoeCombineOptions {
  Group* tp_group = nullptr;  ///< as for dispatch; must outlive the plan
  Trace* trace = nullptr;     ///< if not null, filled by run(); must outlive the plan
};

/// A planned call. Owns nothing of the operands; its scratch memory is the Context's. Move-only;
/// keep Context and Group alive.
///
///   x[t] = T( sum over k of expert_scales[t, k] · P[t, k]       of active entries, k rising
///             + sum over j of P[t, K + j]                       shared experts on ranks, j rising
///             + shared_expert_x[t] )                            if given
///
/// in fp32 from 0 on, every product and every sum rounded, in this order. P[t, k] is the row that
/// came back for the entry; zero experts add nothing, copy experts have P = ori_x[t], const expert
/// c has P = alpha_1[c] · ori_x[t] + alpha_2[c] · v[c] (fp32, three roundings). Entries that
/// dispatch did not send (ids of no expert) add nothing. Rows of tokens that are not active are not
/// written.
///
/// With int8_communication P is T(q · T(g)) where for every 8 elements v of the row g = max |v| ·
/// (1 / 127) and q = v / g, rounded to float16, then to the nearest integer.
/// With TP the two ranks of a pair first add what each of them made of the same row: P = T(a + b).
///
/// The route back is in assist_info_for_combine; no state is kept between the calls, so that a
/// dispatch may be combined twice and several layers may be under way. Collective: every rank of
/// the group (and of the pair) makes the call. The bits depend on the operands alone. The
/// definition is that of CANN's aclnnMoeDistributeCombineV2 and V3, which accept less.
class WEFT_API MoeCombine {
 public:
  /// `args` gives shapes, dtypes and attributes; data pointers may be null. Local: asks no other
  /// rank. Errors: kInvalidArgument (operand, both values, what to do; a window in which the rows
  /// of one token have no room), kOutOfMemory.
  static Result<MoeCombine> plan(Context& context, Group& group, const MoeCombineArgs& args,
                                 const MoeCombineOptions& options = {});

  /// `args` must have the planned shapes, dtypes and attributes; pointers are free to change.
  /// Allocates nothing on success. Errors: kInvalidArgument (differs from the plan, null data,
  /// overlap: nothing was sent; counts or routes that no dispatch writes: the same error on all
  /// ranks, on those that were done in their next call, and the group is unusable), kMismatch
  /// (ranks disagree; nothing was written), kTimeout, kPeerLost (outputs undefined, group
  /// unusable).
  Status run(const MoeCombineArgs& args);

  /// Experts, rows, window: one fact a line, for people.
  std::string describe() const;

  MoeCombine(MoeCombine&&) noexcept;
  MoeCombine& operator=(MoeCombine&&) noexcept;
  ~MoeCombine();

 private:
  using Plan = internal::MoeCombinePlan;
  explicit MoeCombine(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

/// plan() and run() in one call, for callers that do not repeat a shape.
WEFT_API Status moe_combine(Context& context, Group& group, const MoeCombineArgs& args,
                            const MoeCombineOptions& options = {});

}  // namespace weft
