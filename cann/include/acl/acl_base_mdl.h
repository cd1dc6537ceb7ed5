/* SPDX-License-Identifier: Apache-2.0 */
/* Models are not offered; the types that models share with the rest are in acl_base_rt.h. */
#ifndef WEFT_CANN_ACL_BASE_MDL_H
#define WEFT_CANN_ACL_BASE_MDL_H

#include "acl/acl_base_rt.h"

#endif
