/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of abi.inc and the layout of the structs, for the C and the C++ compiler. */
#include <stddef.h>

#include "acl/acl.h"
#include "aclnn/aclnn_base.h"
#include "hccl/hccl.h"

#ifdef __cplusplus
#define WEFT_CHECK(condition) static_assert(condition, #condition)
#else
#define WEFT_CHECK(condition) _Static_assert(condition, #condition)
#endif

#define WEFT_ABI(name, value) WEFT_CHECK((name) == (value));
#include "abi.inc"
#undef WEFT_ABI

WEFT_CHECK(sizeof(aclError) == 4);
WEFT_CHECK(sizeof(aclnnStatus) == 4);
WEFT_CHECK(sizeof(aclrtStream) == 8);
WEFT_CHECK(sizeof(aclrtContext) == 8);
WEFT_CHECK(sizeof(aclrtEvent) == 8);
WEFT_CHECK(sizeof(aclrtNotify) == 8);
WEFT_CHECK(sizeof(aclFloat16) == 2);
WEFT_CHECK(sizeof(aclDataType) == 4);
WEFT_CHECK(sizeof(aclFormat) == 4);
WEFT_CHECK(sizeof(aclrtMemcpyKind) == 4);
WEFT_CHECK(sizeof(aclrtMemMallocPolicy) == 4);
WEFT_CHECK(sizeof(HcclComm) == 8);
WEFT_CHECK(sizeof(HcclResult) == 4);
WEFT_CHECK(sizeof(HcclDataType) == 4);
WEFT_CHECK(sizeof(HcclReduceOp) == 4);
WEFT_CHECK(sizeof(HcclConfigValue) == 4);
WEFT_CHECK(sizeof(HcclRootInfo) == 4108);
WEFT_CHECK(sizeof(HcclSendRecvItem) == 32);
WEFT_CHECK(offsetof(HcclSendRecvItem, buf) == 8);
WEFT_CHECK(offsetof(HcclSendRecvItem, count) == 16);
WEFT_CHECK(offsetof(HcclSendRecvItem, dataType) == 24);
WEFT_CHECK(offsetof(HcclSendRecvItem, remoteRank) == 28);
WEFT_CHECK(offsetof(HcclCommConfig, hcclBufferSize) == 24);
WEFT_CHECK(offsetof(HcclCommConfig, hcclDeterministic) == 28);
WEFT_CHECK(offsetof(HcclCommConfig, hcclCommName) == 32);
WEFT_CHECK(offsetof(HcclCommConfig, hcclUdi) == 160);
WEFT_CHECK(offsetof(HcclCommConfig, hcclOpExpansionMode) == 288);
WEFT_CHECK(offsetof(HcclCommConfig, hcclRdmaTrafficClass) == 292);
WEFT_CHECK(offsetof(HcclCommConfig, hcclRdmaServiceLevel) == 296);
WEFT_CHECK(offsetof(HcclCommConfig, hcclWorldRankID) == 300);
WEFT_CHECK(offsetof(HcclCommConfig, hcclJobID) == 304);
WEFT_CHECK(offsetof(HcclCommConfig, aclGraphZeroCopyEnable) == 312);
WEFT_CHECK(offsetof(HcclCommConfig, hcclExecTimeOut) == 316);
WEFT_CHECK(offsetof(HcclCommConfig, hcclAlgo) == 320);
WEFT_CHECK(offsetof(HcclCommConfig, hcclRetryEnable) == 1920);
WEFT_CHECK(offsetof(HcclCommConfig, hcclRetryParams) == 1970);
WEFT_CHECK(offsetof(HcclCommConfig, hcclBufferName) == 2098);
WEFT_CHECK(offsetof(HcclCommConfig, hcclQos) == 2228);
WEFT_CHECK(offsetof(HcclCommConfig, hcclSymWinMaxMemSizePerRank) == 2232);
WEFT_CHECK(sizeof(HcclCommConfig) == 2240);
