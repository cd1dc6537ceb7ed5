/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_GATING_TOP_K_SOFTMAX_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_GATING_TOP_K_SOFTMAX_H

#include "acl/acl.h"
#include "aclnn/aclnn_base.h"
#include "aclnnop/aclnn_util.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * p = softmax(x) over the E experts, in fp32; of each token the k largest, largest first:
 * yOut[i, j] = p, expertIdxOut[i, j] = its expert (of equal p the lower first), rowIdxOut[i, j] =
 * j · n + i, where n is the number of tokens. A finished token has E for its experts.
 *
 * x (n, E) or (a, b, E): float16, bfloat16 or float. finished like x without its last axis: bool,
 * or null. k from 1 to E, at most 1024. yOut like x with k for E; expertIdxOut, rowIdxOut of the
 * same shape: int32. x and finished may have any strides, outputs have adjacent rows. No
 * communication. The executor can be made repeatable.
 *
 * 161001: a tensor other than finished, workspaceSize or executor is null. 161002: dtypes; what is
 * no tensor; memory that overlaps an output. 561002: all else, an axis of 0 too.
 */
ACLNN_API aclnnStatus aclnnMoeGatingTopKSoftmaxGetWorkspaceSize(
    const aclTensor *x, const aclTensor *finishedOptional, int64_t k, const aclTensor *yOut,
    const aclTensor *expertIdxOut, const aclTensor *rowIdxOut, uint64_t *workspaceSize,
    aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeGatingTopKSoftmax(void *workspace, uint64_t workspaceSize,
                                                aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
