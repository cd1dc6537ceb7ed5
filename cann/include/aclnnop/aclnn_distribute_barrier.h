/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_DISTRIBUTE_BARRIER_H
#define WEFT_CANN_ACLNNOP_ACLNN_DISTRIBUTE_BARRIER_H

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
 * A task that ends when every rank of the communicator has come to it. xRef is neither read nor
 * written: it may be what tasks before and after use.
 *
 * xRef: any integer, float, float16, bfloat16 or bool, up to 8 axes, any strides, also empty.
 * group: what HcclGetCommName gave. worldSize: 2 to 384, the ranks of the communicator.
 *
 * 161001: xRef, group, workspaceSize or executor is null. 161002: dtype. 561002: everything else,
 * also a group that is empty, longer than 127 characters, or no communicator of the current device.
 */
ACLNN_API aclnnStatus aclnnDistributeBarrierGetWorkspaceSize(aclTensor *xRef, const char *group,
                                                             int64_t worldSize,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnDistributeBarrier(void *workspace, uint64_t workspaceSize,
                                             aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
