/* SPDX-License-Identifier: Apache-2.0 */
/* There is no graph engine here, so there are no codes of its own. */
#ifndef WEFT_CANN_ACL_GE_ERROR_CODES_H
#define WEFT_CANN_ACL_GE_ERROR_CODES_H

#include "acl/error_codes/rt_error_codes.h"

#endif
