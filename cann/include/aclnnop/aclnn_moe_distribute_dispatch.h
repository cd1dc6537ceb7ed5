/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_DISPATCH_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_DISPATCH_H

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
 * The first version of aclnnMoeDistributeDispatchV2 (aclnn_moe_distribute_dispatch_v2.h), whose
 * limits it takes. What differs:
 *
 * expandIdx (Bs * K) of int32 instead of assistInfoForCombineOut: for entry (t, k) how many entries
 * before it have the same expert. It stays with the tokens; aclnnMoeDistributeCombine needs it and
 * the same expertIds.
 *
 * One shared expert (sharedExpertNum 1) on sharedExpertRankNum = S ranks, or none (S = 0,
 * sharedExpertNum 0 or 1). Its ranks keep their own tokens, every other rank deals out its tokens
 * to them in S slices, in order. Such a rank gets up to A = G / S rows, or one more if that is no
 * whole number, its own first; the first S of its epRecvCounts cut its own tokens into slices, too.
 * scales: (E + 1, H) if S > 0, else (E, H).
 *
 * Needs 4 * epWorldSize * (G / epWorldSize) * H * L bytes of HCCL_BUFFSIZE.
 */
ACLNN_API aclnnStatus aclnnMoeDistributeDispatchGetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIds, const aclTensor *scales,
    const aclTensor *xActiveMask, const aclTensor *expertScales, const char *groupEp,
    int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum, const char *groupTp,
    int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum,
    int64_t sharedExpertRankNum, int64_t quantMode, int64_t globalBs, int64_t expertTokenNumsType,
    aclTensor *expandX, aclTensor *dynamicScales, aclTensor *expandIdx, aclTensor *expertTokenNums,
    aclTensor *epRecvCounts, aclTensor *tpRecvCounts, aclTensor *expandScales,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeDistributeDispatch(void *workspace, uint64_t workspaceSize,
                                                 aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
