/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_COMBINE_V3_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_COMBINE_V3_H

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
 * aclnnMoeDistributeCombineV2 (aclnn_moe_distribute_combine_v2.h) after
 * aclnnMoeDistributeDispatchV3 (aclnn_moe_distribute_dispatch_v3.h). An entry (t, k) of a zero
 * expert adds nothing, one of a copy expert expertScales[t, k]
 * * oriX[t], one of const expert c expertScales[t, k] * (alpha1[c] * oriX[t] + alpha2[c] * V[c]).
 *
 * oriXOptional (Bs, H), needed with copy and const experts; constExpertAlpha1Optional and
 * constExpertAlpha2Optional (constExpertNum) or (constExpertNum, H), constExpertVOptional
 * (constExpertNum, H), needed with const experts: 561002. All of expandX's dtype.
 * elasticInfoOptional: as for dispatch.
 */
ACLNN_API aclnnStatus aclnnMoeDistributeCombineV3GetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales,
    const aclTensor *tpSendCountsOptional, const aclTensor *xActiveMaskOptional,
    const aclTensor *activationScaleOptional, const aclTensor *weightScaleOptional,
    const aclTensor *groupListOptional, const aclTensor *expandScalesOptional,
    const aclTensor *sharedExpertXOptional, const aclTensor *elasticInfoOptional,
    const aclTensor *oriXOptional, const aclTensor *constExpertAlpha1Optional,
    const aclTensor *constExpertAlpha2Optional, const aclTensor *constExpertVOptional,
    const char *groupEp, int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum,
    const char *groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t globalBs, int64_t outDtype,
    int64_t commQuantMode, int64_t groupListType, const char *commAlg, int64_t zeroExpertNum,
    int64_t copyExpertNum, int64_t constExpertNum, aclTensor *xOut, uint64_t *workspaceSize,
    aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeDistributeCombineV3(void *workspace, uint64_t workspaceSize,
                                                  aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
