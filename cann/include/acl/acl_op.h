/* SPDX-License-Identifier: Apache-2.0 */
/* Single operators are called through aclnnop/; this header keeps old include lines working. */
#ifndef WEFT_CANN_ACL_OP_H
#define WEFT_CANN_ACL_OP_H

#include "acl/acl_base.h"

#endif
