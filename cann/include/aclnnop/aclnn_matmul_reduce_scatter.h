/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MATMUL_REDUCE_SCATTER_H
#define WEFT_CANN_ACLNNOP_ACLNN_MATMUL_REDUCE_SCATTER_H

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
 * output = rows [rank · m / ranks, (rank + 1) · m / ranks) of
 * the sum over ranks of (x1 · x2 + bias)
 *
 * x1 (m, k), not a transposed view; x2 (k, n) or the transposed view of (n, k); bias (n) or null;
 * output (m / ranks, n): all float16 or all bfloat16.
 *
 * The first phase checks everything and plans; the second puts the call into the stream. Every rank
 * of the communicator makes the same call. group: what HcclGetCommName gave. reduceOp: "sum".
 * commTurn: 0. streamMode: 1, a failure stops the stream's context.
 *
 * 161001: a required tensor, group, reduceOp, workspaceSize or executor is null. 161002: dtypes,
 * streamMode, k = 0, then shapes, strides, k outside 256 to 65534, m that is no multiple of the
 * ranks. x1 or x2 empty (m or n = 0): ACLNN_SUCCESS, workspaceSize 0, nothing to do. 561002: number
 * of ranks other than 2, 4, 8, 16, 32, reduceOp, commTurn, unknown communicator, FRACTAL_NZ.
 */
ACLNN_API aclnnStatus aclnnMatmulReduceScatterGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const char *group,
    const char *reduceOp, int64_t commTurn, int64_t streamMode, const aclTensor *output,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMatmulReduceScatter(void *workspace, uint64_t workspaceSize,
                                               aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
