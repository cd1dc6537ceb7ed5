/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_QUANT_MATMUL_ALL_REDUCE_V4_H
#define WEFT_CANN_ACLNNOP_ACLNN_QUANT_MATMUL_ALL_REDUCE_V4_H

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
 * output = sum over ranks of (x2Scale · x1Scale · (x1 · x2 + bias) + x3)
 *
 * x1 (m, k) or (b, s, k) and x2 (k, n), int8; x2 may be the transposed view of (n, k), or
 * FRACTAL_NZ of either. biasOptional (n) of int32 or null, x3Optional like output or null. x2Scale
 * (1), (n) or (1, n). x1ScaleOptional (m) of float or null, one factor a row. output like x1 with n
 * as its last extent. x2Scale and output: uint64 or int64 (aclnnTransQuantParamV2) and float16,
 * bfloat16 and bfloat16, or, with x1ScaleOptional, float and float16. Not x1ScaleOptional with
 * 64-bit scales. commQuantScale1Optional and 2, both or neither: (n) or (1, n) like output. With
 * them, partial sums travel as int8(partial / scale1) and their sums as int8(sum · scale1 /
 * scale2). groupSize and commQuantMode: 0. The rows of int8 are all there are: no 8-bit and 4-bit
 * floats, no scales per block.
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
ACLNN_API aclnnStatus aclnnQuantMatmulAllReduceV4GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *biasOptional,
    const aclTensor *x3Optional, const aclTensor *x1ScaleOptional, const aclTensor *x2Scale,
    const aclTensor *commQuantScale1Optional, const aclTensor *commQuantScale2Optional,
    const char *group, const char *reduceOp, int64_t commTurn, int64_t streamMode,
    int64_t groupSize, int64_t commQuantMode, const aclTensor *output, uint64_t *workspaceSize,
    aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnQuantMatmulAllReduceV4(void *workspace, uint64_t workspaceSize,
                                                  aclOpExecutor *executor,
                                                  const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
