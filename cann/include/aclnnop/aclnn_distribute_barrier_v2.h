/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_DISTRIBUTE_BARRIER_V2_H
#define WEFT_CANN_ACLNNOP_ACLNN_DISTRIBUTE_BARRIER_V2_H

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
 * aclnnDistributeBarrier (aclnn_distribute_barrier.h) with a limit.
 *
 * timeOutOptional: int32 (1), or null: microseconds that this rank waits, read when the task runs;
 * 0 and less: no limit but HCCL_EXEC_TIMEOUT. Behind it the task fails, which
 * aclrtSynchronizeStream reports, and the communicator can't be used any more. elasticInfoOptional:
 * int32 (4 + 2 * worldSize), or null. Its first value is read when the task runs and must be 0:
 * otherwise the task fails.
 */
ACLNN_API aclnnStatus aclnnDistributeBarrierV2GetWorkspaceSize(
    const aclTensor *xRef, const aclTensor *timeOutOptional, const aclTensor *elasticInfoOptional,
    const char *group, int64_t worldSize, uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnDistributeBarrierV2(void *workspace, uint64_t workspaceSize,
                                               aclOpExecutor *executor, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
