/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_FINALIZE_ROUTING_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_FINALIZE_ROUTING_H

#include "acl/acl.h"
#include "aclnn/aclnn_base.h"
#include "aclnnop/aclnn_util.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * out[i] = x1[i] + x2[i] + sum over j of scales[i, j] · (expandedX[r] + bias[expandedExpertIdx[i,
 * j]])
 *
 * with r = expandedRowIdx[j · n + i], as aclnnMoeInitRouting gives it. Of an r of -1 nothing is
 * added, its bias neither. The sum begins with x1 + x2 and adds the terms in rising j; float16 and
 * float in their own arithmetic, bfloat16 in fp32 with one rounding at the end.
 *
 * expandedX (n · K, H), x1, x2, out (n, H), bias (E, H), scales (n, K): float16, bfloat16 or float,
 * all the same; scales of bfloat16 may be float. expandedRowIdx (n · K), expandedExpertIdx (n, K):
 * int32. E >= K. out may be the memory of x1 or x2. Inputs may have any strides, out has adjacent
 * rows. No communication. The executor can be made repeatable.
 *
 * 161001: a tensor other than x2, workspaceSize or executor is null. 161002: dtypes; what is no
 * tensor; memory that overlaps out. 561002: all else. n = 0: ACLNN_SUCCESS, workspaceSize 0,
 * nothing to do. An index out of range when the task runs fails it; nothing is written.
 */
ACLNN_API aclnnStatus aclnnMoeFinalizeRoutingGetWorkspaceSize(
    const aclTensor *expandedX, const aclTensor *x1, const aclTensor *x2Optional,
    const aclTensor *bias, const aclTensor *scales, const aclTensor *expandedRowIdx,
    const aclTensor *expandedExpertIdx, const aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeFinalizeRouting(void *workspace, uint64_t workspaceSize,
                                              aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
