/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_INIT_ROUTING_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_INIT_ROUTING_H

#include "acl/acl.h"
#include "aclnn/aclnn_base.h"
#include "aclnnop/aclnn_util.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The n · K pairs of expertIdx and rowIdx, row by row, sorted by expertIdx; equal ids keep their
 * order. With R[i] the rowIdx of the i-th pair then:
 * expandedExpertIdxOut[i] = its expertIdx, expandedRowIdxOut[R[i]] = i, expandedXOut[i] =
 * x[R[i] mod n].
 *
 * x (n, H): float16, bfloat16 or float. rowIdx (as aclnnMoeGatingTopKSoftmax gives it), expertIdx
 * (n, K): int32. expandedXOut (min(activeNum, n) · K, H): like x. expandedRowIdxOut,
 * expandedExpertIdxOut (n · K): int32. Inputs may have any strides, outputs have adjacent rows. No
 * communication. The executor can be made repeatable.
 *
 * 161001: a tensor, workspaceSize or executor is null. 161002: dtypes; what is no tensor; memory
 * that overlaps an output. 561002: all else. No rows: ACLNN_SUCCESS, workspaceSize 0, nothing to
 * do. A rowIdx that is none of 0 to n · K - 1 when the task runs fails it; nothing is written.
 */
ACLNN_API aclnnStatus aclnnMoeInitRoutingGetWorkspaceSize(
    const aclTensor *x, const aclTensor *rowIdx, const aclTensor *expertIdx, int64_t activeNum,
    const aclTensor *expandedXOut, const aclTensor *expandedRowIdxOut,
    const aclTensor *expandedExpertIdxOut, uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeInitRouting(void *workspace, uint64_t workspaceSize,
                                          aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
