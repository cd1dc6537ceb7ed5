/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_ADD_RMS_NORM_H
#define WEFT_CANN_ACLNNOP_ACLNN_ADD_RMS_NORM_H

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
 * xOut = x1 + x2
 * rstdOut = 1 / sqrt(mean(xOut²) + epsilon)          (mean over the axes of gamma, the last ones)
 * yOut = xOut · rstdOut · gamma
 *
 * x1, x2, yOut, xOut of one shape and gamma: all float16, bfloat16 or float. rstdOut of float: like
 * x1 with 1 for every axis of gamma. xOut may be the memory of x1 or x2. epsilon: between 0 and 1.
 * No communication. The executor can be made repeatable.
 *
 * 161001: a tensor, workspaceSize or executor is null. 161002: all else. An empty x1:
 * ACLNN_SUCCESS, workspaceSize 0, nothing to do.
 */
ACLNN_API aclnnStatus aclnnAddRmsNormGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *gamma, double epsilon,
    const aclTensor *yOut, const aclTensor *rstdOut, const aclTensor *xOut, uint64_t *workspaceSize,
    aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnAddRmsNorm(void *workspace, uint64_t workspaceSize,
                                      aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
