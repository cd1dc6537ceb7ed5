/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_COMBINE_V2_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_COMBINE_V2_H

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
 * The rows that experts returned travel back to their tokens, weighted and added:
 *
 * xOut[t] = sum over k of expertScales[t, k] * row of entry (t, k) + rows of shared experts +
 * sharedExpertX[t]
 *
 * in fp32, in this order, every product and sum rounded. Tokens that are not active are not
 * written.
 *
 * expandX (>= A, H) of float16 or bfloat16: what the experts made of the rows of
 * aclnnMoeDistributeDispatchV2 (aclnn_moe_distribute_dispatch_v2.h), each in its place. expertIds,
 * xActiveMaskOptional and the attributes: as there. assistInfoForCombine (>= 128 * A), epSendCounts
 * and, with TP, tpSendCountsOptional (2): its outputs assistInfoForCombineOut, epRecvCountsOut and
 * tpRecvCountsOut. expertScales (Bs, K) of float. sharedExpertXOptional: (Bs, H), or three axes
 * with Bs rows, of expandX's dtype, or null; not with sharedExpertRankNum > 0. xOut (Bs, H).
 *
 * With TP the two ranks of a pair first add what each of them made of the same row, rounded to the
 * dtype.
 *
 * commQuantMode: 0, or 2: rows travel as int8 with a scale for every 8 elements, which loses bits;
 * not with TP. activationScaleOptional, weightScaleOptional, groupListOptional: null.
 * expandScalesOptional, outDtype, groupListType and commAlg: not looked at.
 *
 * 161001: expandX, expertIds, assistInfoForCombine, epSendCounts, expertScales, xOut, workspaceSize
 * or executor null; groupEp null or empty. 161002: groupEp or groupTp longer than 127 characters;
 * dtypes. 561002: everything else about shapes, attributes and HCCL_BUFFSIZE. Last as for dispatch,
 * 561000 for no communicator, 161002 and 161001.
 */
ACLNN_API aclnnStatus aclnnMoeDistributeCombineV2GetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales,
    const aclTensor *tpSendCountsOptional, const aclTensor *xActiveMaskOptional,
    const aclTensor *activationScaleOptional, const aclTensor *weightScaleOptional,
    const aclTensor *groupListOptional, const aclTensor *expandScalesOptional,
    const aclTensor *sharedExpertXOptional, const char *groupEp, int64_t epWorldSize,
    int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t globalBs, int64_t outDtype, int64_t commQuantMode, int64_t groupListType,
    const char *commAlg, aclTensor *xOut, uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeDistributeCombineV2(void *workspace, uint64_t workspaceSize,
                                                  aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
