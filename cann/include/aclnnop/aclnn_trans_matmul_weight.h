/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_TRANS_MATMUL_WEIGHT_H
#define WEFT_CANN_ACLNNOP_ACLNN_TRANS_MATMUL_WEIGHT_H

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
 * Elements (not bytes) of the FRACTAL_NZ image of a 16-bit weight of 2 or 3 axes.
 *
 * ACLNN_ERR_PARAM_NULLPTR: an argument is null. ACLNN_ERR_PARAM_INVALID: number of axes, extents
 * below 1, more elements than 64 bits can count.
 */
ACLNN_API aclnnStatus aclnnCalculateMatmulWeightSize(const aclIntArray *tensorShape,
                                                     uint64_t *weightTensorSize);

/**
 * The same for 2 to 6 axes of ACL_FLOAT16 or ACL_BF16 (the last two are rounded up to multiples of
 * 16) or ACL_INT8 (16 and 32). Errors: also ACLNN_ERR_PARAM_INVALID for other dtypes.
 */
ACLNN_API aclnnStatus aclnnCalculateMatmulWeightSizeV2(const aclIntArray *tensorShape,
                                                       aclDataType dataType,
                                                       uint64_t *weightTensorSize);

/**
 * Makes mmWeightRef its FRACTAL_NZ image, in place: (…, rows, columns) of float16, bfloat16 (2 or 3
 * axes) or int8 (2 to 6). Its memory must have room for aclnnCalculateMatmulWeightSizeV2 elements.
 * The first phase changes the description: storage shape (…, ceil(columns / c0), ceil(rows / 16),
 * 16, c0) with c0 = 32 bytes of elements, storage format FRACTAL_NZ, dense strides; shape and
 * format of the view stay. The second phase moves the data. Operators that take FRACTAL_NZ then
 * take it. The executor can be made repeatable, for weights of one shape.
 *
 * 161001: mmWeightRef, workspaceSize or executor is null, or a weight without memory. 161002:
 * dtype, format, number of axes, an offset, or a block of aclrtMalloc that is too small. An empty
 * weight: ACLNN_SUCCESS, workspaceSize 0, nothing to do.
 */
ACLNN_API aclnnStatus aclnnTransMatmulWeightGetWorkspaceSize(aclTensor *mmWeightRef,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnTransMatmulWeight(void *workspace, uint64_t workspaceSize,
                                             aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
