/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_DISPATCH_V2_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_DISPATCH_V2_H

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
 * Every token travels to the ranks of its experts.
 *
 * x (Bs, H) of float16 or bfloat16, Bs 1 to 512, H 1024 to 8192; expertIds (Bs, K) of int32, K 1 to
 * 16, distinct within a row. epWorldSize ranks (2 to 768), this one is epRankId: the communicator
 * groupEp. The first sharedExpertRankNum of them hold sharedExpertNum shared experts (0 to 4),
 * which get every token; the others moeExpertNum / (number of them) = L of the moeExpertNum routed
 * experts (1 to 1024) each. G = globalBs if that is not 0, else Bs * epWorldSize; ranks with
 * different Bs pass the largest * epWorldSize. Rows that a rank may get: A = G * min(L, K), on a
 * rank with a shared expert G / epWorldSize for every rank that sends to it.
 *
 * expandXOut (>= A, H): for each local expert, for each source rank, in the order of (t, k), token
 * t of each entry (t, k) of that expert. quantMode 0: copies. quantMode 2: int8, each row quantised
 * for itself, with dynamicScalesOut (>= A) of float, and scalesOptional (sharedExpertNum +
 * moeExpertNum, H) of float or null. expertTokenNumsOut (L) of int64: rows of each local expert, or
 * with expertTokenNumsType 0 the sums of them so far. epRecvCountsOut (>= epWorldSize * L) of
 * int32: running sums over (expert, source). assistInfoForCombineOut (>= 3 * A, for combine 128 *
 * A) of int32: the way back, for combine alone. What lies behind the rows of the call is not
 * written, nor are expandScalesOut, which may be null, dynamicScalesOut with quantMode 0 and
 * tpRecvCountsOut without TP.
 *
 * xActiveMaskOptional: bool, (Bs): as many of the first tokens are active as there are ones; (Bs,
 * K): an entry is active if it is set, a token if any of its entries is. Not with different Bs.
 *
 * tpWorldSize 2: groupTp is a communicator of the two ranks that hold halves of the same expert (L
 * = 1), this one is tpRankId there. Outputs are twice as long; rows of the other rank follow the
 * own ones, so do its sums in epRecvCountsOut; tpRecvCountsOut (2) of int32 has the rows of either.
 * tpWorldSize 0 or 1: no TP, groupTp may be null or empty.
 *
 * commAlg: null, "", "fullmesh_v1", or "fullmesh_v2", which has no mask, different Bs or TP; all
 * give the same. expertShardType: 0. expertScalesOptional: not looked at. Inputs have any strides,
 * outputs adjacent elements.
 *
 * Every rank of the communicators makes the call; it runs in the order in which the rank submitted
 * its calls.
 *
 * 161001: x, expertIds, expandXOut, assistInfoForCombineOut, expertTokenNumsOut, tpRecvCountsOut,
 * epRecvCountsOut, workspaceSize, executor, or with quantMode 2 dynamicScalesOut null; groupEp null
 * or empty; groupEp or groupTp longer than 127 characters. 161002: dtypes. 561002: everything else
 * about shapes, attributes and HCCL_BUFFSIZE, such as int8 rows without quantMode 2. Last, 561000:
 * groupEp or groupTp is no communicator of the current device; 161002: it has another size or rank
 * than the attributes say, or both are one name, or memory overlaps; 161001: an operand has no
 * memory.
 */
ACLNN_API aclnnStatus aclnnMoeDistributeDispatchV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIds, const aclTensor *scalesOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *expertScalesOptional,
    const char *groupEp, int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum,
    const char *groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t quantMode, int64_t globalBs,
    int64_t expertTokenNumsType, const char *commAlg, aclTensor *expandXOut,
    aclTensor *dynamicScalesOut, aclTensor *assistInfoForCombineOut, aclTensor *expertTokenNumsOut,
    aclTensor *epRecvCountsOut, aclTensor *tpRecvCountsOut, aclTensor *expandScalesOut,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeDistributeDispatchV2(void *workspace, uint64_t workspaceSize,
                                                   aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
