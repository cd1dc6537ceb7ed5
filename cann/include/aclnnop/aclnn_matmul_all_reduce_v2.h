/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MATMUL_ALL_REDUCE_V2_H
#define WEFT_CANN_ACLNNOP_ACLNN_MATMUL_ALL_REDUCE_V2_H

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
 * output = sum over ranks of (x1 · x2 + bias + x3)
 *
 * x1 (m, k) or (b, s, k), x2 (k, n) or the transposed view of (n, k), bias (n) or null, x3 like
 * output or null, output like x1 with n as its last extent: all float16 or all bfloat16. k may be
 * 0. x3 may be output's memory.
 *
 * The first phase checks everything and plans; the second puts the call into the stream. Every rank
 * of the communicator makes the same call. group: what HcclGetCommName gave. reduceOp: "sum".
 * commTurn: 0. streamMode: 1, a failure stops the stream's context.
 *
 * 161001: a required tensor, group, reduceOp, workspaceSize or executor is null. 161002: handle
 * that is none, dtypes, shapes, strides, attributes. 561002: number of ranks other than 1, 2, 4, 8,
 * extents above the limits, commTurn, unknown communicator.
 */
ACLNN_API aclnnStatus aclnnMatmulAllReduceV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *x3,
    const char *group, const char *reduceOp, int64_t commTurn, int64_t streamMode,
    const aclTensor *output, uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMatmulAllReduceV2(void *workspace, uint64_t workspaceSize,
                                             aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
