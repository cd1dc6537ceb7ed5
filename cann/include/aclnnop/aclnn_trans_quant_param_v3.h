/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_TRANS_QUANT_PARAM_V3_H
#define WEFT_CANN_ACLNNOP_ACLNN_TRANS_QUANT_PARAM_V3_H

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
 * out = bits of float scale, its mantissa shortened to 10 bits
 *       | (nearest integer of offset, from -256 to 255, as 9 bits) << 37 | 1 << 46
 *
 * scale and offset (or null) of float, out of uint64 or int64: (t) or (1, t); a single element of
 * scale or offset stands for all. roundMode 0 drops the low bits of the mantissa, 1 rounds to
 * nearest, ties to even. The executor can be made repeatable.
 *
 * 161001: scale, out, workspaceSize or executor is null. 161002: dtypes, shapes, different lengths,
 * empty tensors, FRACTAL_NZ, roundMode.
 */
ACLNN_API aclnnStatus aclnnTransQuantParamV3GetWorkspaceSize(
    const aclTensor *scale, const aclTensor *offset, int64_t roundMode, const aclTensor *out,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnTransQuantParamV3(void *workspace, uint64_t workspaceSize,
                                             aclOpExecutor *executor, const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
