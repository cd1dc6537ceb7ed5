/* SPDX-License-Identifier: Apache-2.0 */
/* What every operator header starts from. */
#ifndef WEFT_CANN_ACLNN_ACLNN_BASE_H
#define WEFT_CANN_ACLNN_ACLNN_BASE_H

#include "acl/acl.h"
#include "aclnn/acl_meta.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Operators need no preparation; both may be left out. configPath is not read. */
ACL_FUNC_VISIBILITY aclnnStatus aclnnInit(const char *configPath);
ACL_FUNC_VISIBILITY aclnnStatus aclnnFinalize(void);

#ifdef __cplusplus
}
#endif

#endif
