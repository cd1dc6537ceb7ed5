/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_INPLACE_WEIGHT_QUANT_MATMUL_ALL_REDUCE_ADD_RMS_NORM_H
#define WEFT_CANN_ACLNNOP_ACLNN_INPLACE_WEIGHT_QUANT_MATMUL_ALL_REDUCE_ADD_RMS_NORM_H

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
 * residual = (sum over ranks of (x1 · ((x2 + antiquantOffset) · antiquantScale) + bias)) + residual
 * normOut = residual / sqrt(mean(residual²) + epsilon) · gamma          (mean over n)
 *
 * x1 (m, k) or (b, s, k), float16 or bfloat16. x2 (k, n) or the transposed view of (n, k), int8 or
 * int4. antiquantScale (1), (n) or (1, n), or (ceil(k / antiquantGroupSize), n); antiquantOffset
 * like it or null; bias (n) or null: all of x1's dtype. residual (b, s, n), also with x1 (m, k), m
 * = b · s; gamma (n); normOut like residual.
 *
 * The first phase checks everything and plans; the second puts the call into the stream. Every rank
 * of the communicator makes the same call. group: what HcclGetCommName gave. reduceOp: "sum".
 * commTurn: 0. streamMode: 1, a failure stops the stream's context.
 *
 * 161001: something required is null. 161002: tensors without axes, different k, different n of x2
 * and residual, k = 0, streamMode. An empty x1, x2, scale, residual or gamma: ACLNN_SUCCESS,
 * workspaceSize 0, nothing to do. 561002: all else, dtypes, shapes, reduceOp and epsilon (between 0
 * and 1) included.
 */
ACLNN_API aclnnStatus aclnnInplaceWeightQuantMatmulAllReduceAddRmsNormGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias,
    const aclTensor *antiquantScale, const aclTensor *antiquantOffset, const aclTensor *residual,
    const aclTensor *gamma, double epsilon, const char *group, const char *reduceOp,
    int64_t commTurn, int64_t streamMode, int64_t antiquantGroupSize, const aclTensor *normOut,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnInplaceWeightQuantMatmulAllReduceAddRmsNorm(void *workspace,
                                                                       uint64_t workspaceSize,
                                                                       aclOpExecutor *executor,
                                                                       const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
