/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_BUFFER_RESET_H
#define WEFT_CANN_ACLNNOP_ACLNN_MOE_DISTRIBUTE_BUFFER_RESET_H

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
 * Makes the communicator of MoE operators ready after a fault. Buffers and counters of weft are
 * always ready, so that a barrier of all ranks is left, with needSync 1; with 0 there is nothing to
 * do.
 *
 * elasticInfo: int32 (epWorldSize), 1 for each rank that is alive; with needSync 1 it is read when
 * the task runs and the task fails if a rank is not: a group that has lost ranks can't go on.
 * epWorldSize: 16, 32, ... 128, the ranks of groupEp.
 *
 * 161001: elasticInfo, groupEp, workspaceSize or executor is null. 161002: dtype; groupEp empty or
 * longer than 127 characters. 561002: shape, epWorldSize, needSync. Last, 561000: groupEp is no
 * communicator of the current device; 161002: it has another size; 161001: elasticInfo has no
 * memory.
 */
ACLNN_API aclnnStatus aclnnMoeDistributeBufferResetGetWorkspaceSize(
    const aclTensor *elasticInfo, const char *groupEp, int64_t epWorldSize, int64_t needSync,
    uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnMoeDistributeBufferReset(void *workspace, uint64_t workspaceSize,
                                                    aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
