// SPDX-License-Identifier: Apache-2.0
// First phases of combine, and of combine + add + RMSNorm, in all versions.
#pragma once

#include <cstdint>

#include "aclnn_moe_distribute.h"

namespace weft::cann {

/// The operands, and the attributes that dispatch does not have. What an entry point lacks is null.
struct MoeCombineOperands {
  const aclTensor *expand_x, *expert_ids;
  const aclTensor* route;  // assistInfoForCombine, in the first version expandIdx
  const aclTensor *ep_send_counts, *expert_scales, *tp_send_counts, *x_active_mask,
      *activation_scale, *weight_scale, *group_list, *expand_scales;
  std::int64_t comm_quant_mode;
  const aclTensor* x;
  const aclTensor *shared_expert_x = nullptr, *ori_x = nullptr, *alpha_1 = nullptr,
                  *alpha_2 = nullptr, *const_v = nullptr;
  const aclTensor *residual_x = nullptr, *gamma = nullptr, *y = nullptr, *rstd = nullptr;
  float norm_eps = 0;
};

aclnnStatus moe_combine(const MoeAttributes& attributes, const MoeCombineOperands& operands);
/// Also needs residual_x, gamma, y and rstd.
aclnnStatus moe_combine_add_rms_norm(const MoeAttributes& attributes,
                                     const MoeCombineOperands& operands);

}  // namespace weft::cann
