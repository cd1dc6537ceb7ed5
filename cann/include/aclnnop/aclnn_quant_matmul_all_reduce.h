/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_QUANT_MATMUL_ALL_REDUCE_H
#define WEFT_CANN_ACLNNOP_ACLNN_QUANT_MATMUL_ALL_REDUCE_H

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
 * output = sum over ranks of (dequantScale · (x1 · x2 + bias) + x3)
 *
 * x1 (m, k) or (b, s, k) and x2 (k, n), int8; x2 may be the transposed view of (n, k), or
 * FRACTAL_NZ of either. bias (n) of int32 or null, x3 like output or null. dequantScale (1), (n) or
 * (1, n). output like x1 with n as its last extent. dequantScale and output: uint64 or int64
 * (aclnnTransQuantParamV2) and float16, bfloat16 and bfloat16.
 *
 * The first phase checks everything and plans; the second puts the call into the stream. Every rank
 * of the communicator makes the same call. group: what HcclGetCommName gave. reduceOp: "sum".
 * commTurn: 0. streamMode: 1, a failure stops the stream's context.
 *
 * 161001: a required tensor, group, reduceOp, workspaceSize or executor is null. 161002: handle
 * that is none, dtypes, shapes, strides, attributes. 561002: number of ranks other than 1, 2, 4, 8,
 * extents above the limits, commTurn, unknown communicator, FRACTAL_NZ of anything but x2, a float
 * scale alone with a float16 output, empty tensors.
 */
ACLNN_API aclnnStatus aclnnQuantMatmulAllReduceGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *x3,
    const aclTensor *dequantScale, const char *group, const char *reduceOp, int64_t commTurn,
    int64_t streamMode, const aclTensor *output, uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnQuantMatmulAllReduce(void *workspace, uint64_t workspaceSize,
                                                aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
