/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_FINALIZE_ROUTING_V2_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_FINALIZE_ROUTING_V2_H

#include "acl/acl.h"
#include "aclnn/aclnn_base.h"
#include "aclnnop/aclnn_util.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * out[i] = x1[i] + x2[i] + sum over j of scales[i, j] · (expandedX[r] + bias[expertIdx[i, j]])
 *
 * with r = expandedRowIdx[j · n + i] (dropPadMode 0, 1) or [i · K + j] (2, 3). Of an r of -1
 * nothing is added, its bias neither. The sum begins with x1 + x2 and adds the terms in rising j;
 * float16 and float in their own arithmetic, bfloat16 in fp32 with one rounding at the end.
 *
 * expandedX (n · K, H) (dropPadMode 0, 2) or (E, C, H), of which r counts the E · C rows (1, 3);
 * x1, x2, out (n, H), bias (E, H), scales (n, K): float16, bfloat16 or float, all the same; scales
 * of bfloat16 may be float. expandedRowIdx (n · K), expertIdx (n, K): int32. E >= K. Null adds
 * nothing, scales of null are 1 with K = 1; x2 needs x1, bias needs expertIdx. out may be the
 * memory of x1 or x2. Inputs may have any strides, out has adjacent rows. No communication. The
 * executor can be made repeatable.
 *
 * 161001: expandedX, expandedRowIdx, out, workspaceSize or executor is null. 161002: dtypes; what
 * is no tensor; memory that overlaps out. 561002: all else. n = 0: ACLNN_SUCCESS, workspaceSize 0,
 * nothing to do. An index out of range when the task runs fails it; nothing is written.
 */
ACLNN_API aclnnStatus aclnnMoeFinalizeRoutingV2GetWorkspaceSize(
    const aclTensor *expandedX, const aclTensor *expandedRowIdx, const aclTensor *x1Optional,
    const aclTensor *x2Optional, const aclTensor *biasOptional, const aclTensor *scalesOptional,
    const aclTensor *expertIdxOptional, int64_t dropPadMode, const aclTensor *out,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeFinalizeRoutingV2(void *workspace, uint64_t workspaceSize,
                                                aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
