/* SPDX-License-Identifier: Apache-2.0 */
/* Start and end of a program, the last error, and everything of the runtime. */
#ifndef WEFT_CANN_ACL_H
#define WEFT_CANN_ACL_H

#include "acl/acl_base.h"
#include "acl/acl_mdl.h"
#include "acl/acl_op.h"
#include "acl/acl_rt.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Starts the runtime; once per process. configPath: a JSON file, or NULL for the defaults.
 * "err_msg_mode": "1" makes the messages of aclGetRecentErrMsg those of the process; "0", the
 * default, those of the calling thread. Other keys are ignored.
 * Errors: ACL_ERROR_REPEAT_INITIALIZE (harmless, counted), ACL_ERROR_INVALID_FILE (cannot be read),
 * ACL_ERROR_PARSE_FILE, ACL_ERROR_FILE_ATTR_INVALID, ACL_ERROR_RT_PARAM_INVALID (WEFT_DEVICES).
 */
ACL_FUNC_VISIBILITY aclError aclInit(const char *configPath);

/**
 * Waits for all tasks, then releases every stream, event, context and all memory of the runtime,
 * however often aclInit was called. aclInit may be called again.
 * Errors: ACL_ERROR_UNINITIALIZE, ACL_ERROR_REPEAT_FINALIZE.
 */
ACL_FUNC_VISIBILITY aclError aclFinalize(void);

/** Takes back one aclInit; the last one acts as aclFinalize. refCount (may be NULL): those left. */
ACL_FUNC_VISIBILITY aclError aclFinalizeReference(uint64_t *refCount);

/**
 * The messages of the failed calls since the last question, newest first; then forgets them. NULL
 * if there are none. The text lives until the next call of this function in the same thread.
 */
ACL_FUNC_VISIBILITY const char *aclGetRecentErrMsg(void);

/** Version of the interface. Errors: ACL_ERROR_INVALID_PARAM (null). */
ACL_FUNC_VISIBILITY aclError aclrtGetVersion(int32_t *majorVersion, int32_t *minorVersion,
                                             int32_t *patchVersion);

/** Name of the processor whose rules are followed; static text. */
ACL_FUNC_VISIBILITY const char *aclrtGetSocName(void);

#ifdef __cplusplus
}
#endif

#endif
