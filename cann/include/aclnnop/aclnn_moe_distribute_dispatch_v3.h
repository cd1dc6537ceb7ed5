/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_DISPATCH_V3_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_DISPATCH_V3_H

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
 * aclnnMoeDistributeDispatchV2 (aclnn_moe_distribute_dispatch_v2.h) with experts that live nowhere.
 * Their ids follow those of the routed ones: zeroExpertNum, then copyExpertNum, then
 * constExpertNum. Entries of them are not sent; combine knows what they return. K is at most the
 * number of ids. Not with commAlg "fullmesh_v2".
 *
 * elasticInfoOptional: int32 (4 + 2 * epWorldSize), or null; not with TP or "fullmesh_v2". Its
 * first value is read when the task runs and must be 0: a group that has lost ranks can't go on,
 * form a new one. Otherwise the task fails.
 */
ACLNN_API aclnnStatus aclnnMoeDistributeDispatchV3GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIds, const aclTensor *scalesOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *expertScalesOptional,
    const aclTensor *elasticInfoOptional, const char *groupEp, int64_t epWorldSize,
    int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t quantMode, int64_t globalBs, int64_t expertTokenNumsType, const char *commAlg,
    int64_t zeroExpertNum, int64_t copyExpertNum, int64_t constExpertNum, aclTensor *expandXOut,
    aclTensor *dynamicScalesOut, aclTensor *assistInfoForCombineOut, aclTensor *expertTokenNumsOut,
    aclTensor *epRecvCountsOut, aclTensor *tpRecvCountsOut, aclTensor *expandScalesOut,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeDistributeDispatchV3(void *workspace, uint64_t workspaceSize,
                                                   aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
