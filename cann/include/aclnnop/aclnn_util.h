/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_UTIL_H
#define WEFT_CANN_ACLNNOP_ACLNN_UTIL_H

/** Marks the entry points of operators. */
#define ACLNN_API __attribute__((visibility("default")))

#endif
