/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_COMBINE_ADD_RMS_NORM_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_COMBINE_ADD_RMS_NORM_H

#include "acl/acl.h"
#include "aclnn/aclnn_base.h"
#include "aclnnop/aclnn_util.h"
#include "hccl/hccl.h"
#include "hccl/hccl_types.h"

#ifdef __cplusplus
#include <cstdio>
#include <memory>
#include <new>
#include <string>

extern "C" {
#endif

/**
 * aclnnMoeDistributeCombineV2 (aclnn_moe_distribute_combine_v2.h), residual and RMSNorm in one pass
 * over each token:
 *
 * f = what combine would round + residualX    xOut = bfloat16(f)
 * rstdOut = 1 / sqrt(mean(f * f) + normEps)   yOut = bfloat16(bfloat16(f * rstd) * gamma)
 *
 * in fp32; the norm is that of f before it is rounded. All but counts, ids and scales are bfloat16.
 * residualX, xOut, yOut (Bs, 1, H); residualX may be the memory of xOut; gamma (H); rstdOut (Bs, 1,
 * 1) of float. Tokens that are not active are not written. The codes are those of
 * aclnnMoeDistributeCombineV2; null residualX, gamma, yOut and rstdOut are 161001, behind a group
 * name that is too long.
 */
ACLNN_API aclnnStatus aclnnMoeDistributeCombineAddRmsNormGetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales, const aclTensor *residualX,
    const aclTensor *gamma, const aclTensor *tpSendCountsOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *activationScaleOptional,
    const aclTensor *weightScaleOptional, const aclTensor *groupListOptional,
    const aclTensor *expandScalesOptional, const aclTensor *sharedExpertXOptional,
    const char *groupEp, int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum,
    const char *groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t globalBs, int64_t outDtype,
    int64_t commQuantMode, int64_t groupListType, const char *commAlg, float normEps,
    aclTensor *yOut, aclTensor *rstdOut, aclTensor *xOut, uint64_t *workspaceSize,
    aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeDistributeCombineAddRmsNorm(void *workspace, uint64_t workspaceSize,
                                                          aclOpExecutor *executor,
                                                          aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
