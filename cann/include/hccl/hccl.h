/* SPDX-License-Identifier: Apache-2.0 */
/* Collectives. All are asynchronous: they put a task in the stream and return. Every rank of the
 * communicator makes the same calls in the same order. Counts are elements.
 *
 * Reductions run in rank order, so all ranks get the same bits, every time.
 * Errors at the call: HCCL_E_PTR (null buffer with count > 0, comm), HCCL_E_PARA (root, peer, op,
 * count, buffers that overlap), HCCL_E_NOT_SUPPORT (type), HCCL_E_RUNTIME (stream, or one on
 * another device than the rank). What happens later is reported by aclrtSynchronizeStream, and the
 * communicator is unusable then.
 */
#ifndef WEFT_CANN_HCCL_H
#define WEFT_CANN_HCCL_H

#include "acl/acl.h"
#include "hccl/hccl_comm.h"
#include "hccl/hccl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** recvBuf[i] = op over ranks of sendBuf[i]; may be in place. */
ACL_FUNC_VISIBILITY HcclResult HcclAllReduce(void *sendBuf, void *recvBuf, uint64_t count,
                                             HcclDataType dataType, HcclReduceOp op, HcclComm comm,
                                             aclrtStream stream);

/** Rank r gets elements [r · recvCount, (r + 1) · recvCount) of the reduction. */
ACL_FUNC_VISIBILITY HcclResult HcclReduceScatter(void *sendBuf, void *recvBuf, uint64_t recvCount,
                                                 HcclDataType dataType, HcclReduceOp op,
                                                 HcclComm comm, aclrtStream stream);

/** sendCounts, sendDispls: uint64_t per rank, the same on all. */
ACL_FUNC_VISIBILITY HcclResult HcclReduceScatterV(void *sendBuf, const void *sendCounts,
                                                  const void *sendDispls, void *recvBuf,
                                                  uint64_t recvCount, HcclDataType dataType,
                                                  HcclReduceOp op, HcclComm comm,
                                                  aclrtStream stream);

/** recvBuf = the sendBufs of all ranks in rank order. */
ACL_FUNC_VISIBILITY HcclResult HcclAllGather(void *sendBuf, void *recvBuf, uint64_t sendCount,
                                             HcclDataType dataType, HcclComm comm,
                                             aclrtStream stream);

/** recvCounts, recvDispls: uint64_t per rank, the same counts on all. */
ACL_FUNC_VISIBILITY HcclResult HcclAllGatherV(void *sendBuf, uint64_t sendCount, void *recvBuf,
                                              const void *recvCounts, const void *recvDispls,
                                              HcclDataType dataType, HcclComm comm,
                                              aclrtStream stream);

/** buf of `root` goes to all. */
ACL_FUNC_VISIBILITY HcclResult HcclBroadcast(void *buf, uint64_t count, HcclDataType dataType,
                                             uint32_t root, HcclComm comm, aclrtStream stream);

/** HcclAllReduce whose result only `root` gets. */
ACL_FUNC_VISIBILITY HcclResult HcclReduce(void *sendBuf, void *recvBuf, uint64_t count,
                                          HcclDataType dataType, HcclReduceOp op, uint32_t root,
                                          HcclComm comm, aclrtStream stream);

/** Rank r gets elements [r · recvCount, (r + 1) · recvCount) of the sendBuf of `root`. */
ACL_FUNC_VISIBILITY HcclResult HcclScatter(void *sendBuf, void *recvBuf, uint64_t recvCount,
                                           HcclDataType dataType, uint32_t root, HcclComm comm,
                                           aclrtStream stream);

/** Every HcclSend needs its HcclRecv of the same count. */
ACL_FUNC_VISIBILITY HcclResult HcclSend(void *sendBuf, uint64_t count, HcclDataType dataType,
                                        uint32_t destRank, HcclComm comm, aclrtStream stream);
ACL_FUNC_VISIBILITY HcclResult HcclRecv(void *recvBuf, uint64_t count, HcclDataType dataType,
                                        uint32_t srcRank, HcclComm comm, aclrtStream stream);

/** All transfers of the list, in whatever order lets them finish. */
ACL_FUNC_VISIBILITY HcclResult HcclBatchSendRecv(HcclSendRecvItem *sendRecvInfo, uint32_t itemNum,
                                                 HcclComm comm, aclrtStream stream);

/** Block r of sendBuf goes to rank r, block r of recvBuf comes from there. Errors: HCCL_E_PARA if
 * the types or counts of the two differ. */
ACL_FUNC_VISIBILITY HcclResult HcclAlltoAll(const void *sendBuf, uint64_t sendCount,
                                            HcclDataType sendType, const void *recvBuf,
                                            uint64_t recvCount, HcclDataType recvType,
                                            HcclComm comm, aclrtStream stream);

/** Counts and displacements: uint64_t per rank. Both types must be the same. */
ACL_FUNC_VISIBILITY HcclResult HcclAlltoAllV(const void *sendBuf, const void *sendCounts,
                                             const void *sdispls, HcclDataType sendType,
                                             const void *recvBuf, const void *recvCounts,
                                             const void *rdispls, HcclDataType recvType,
                                             HcclComm comm, aclrtStream stream);

/** sendCountMatrix: uint64_t [ranks][ranks], row = sender, the same on all; blocks lie densely. */
ACL_FUNC_VISIBILITY HcclResult HcclAlltoAllVC(const void *sendBuf, const void *sendCountMatrix,
                                              HcclDataType sendType, const void *recvBuf,
                                              HcclDataType recvType, HcclComm comm,
                                              aclrtStream stream);

/** No task behind it begins on any rank before all ranks have come here. */
ACL_FUNC_VISIBILITY HcclResult HcclBarrier(HcclComm comm, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
