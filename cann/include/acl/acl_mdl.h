/* SPDX-License-Identifier: Apache-2.0 */
/* Models are not offered; this header keeps old include lines working. */
#ifndef WEFT_CANN_ACL_MDL_H
#define WEFT_CANN_ACL_MDL_H

#include "acl/acl_base.h"
#include "acl/acl_rt.h"

#endif
