/* SPDX-License-Identifier: Apache-2.0 */
/* Communicators: how ranks meet and part. Ranks are threads of a process, each with its own device,
 * or processes of one host.
 *
 * Errors of all functions: HCCL_E_PTR for a null pointer or a handle that is none, HCCL_E_PARA for
 * an argument out of range, HCCL_E_MEMORY, HCCL_E_INTERNAL. aclGetRecentErrMsg has the message.
 */
#ifndef WEFT_CANN_HCCL_COMM_H
#define WEFT_CANN_HCCL_COMM_H

#include <stddef.h>
#include <string.h>

#include "acl/acl.h"
#include "hccl/hccl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Fills in "not set" for every option. */
static inline void HcclCommConfigInit(HcclCommConfig *config) {
  struct {
    size_t size;
    uint32_t magic, version;
    uint64_t reserved;
  } header;
  memset(config, 0, sizeof(*config));
  header.size = sizeof(*config);
  header.magic = HCCL_COMM_CONFIG_MAGIC_WORD;
  header.version = HCCL_COMM_CONFIG_VERSION;
  header.reserved = 0;
  memcpy(config->reserved, &header, sizeof(header));
  config->hcclBufferSize = HCCL_COMM_BUFFSIZE_CONFIG_NOT_SET;
  config->hcclDeterministic = HCCL_COMM_DETERMINISTIC_CONFIG_NOT_SET;
  config->hcclOpExpansionMode = HCCL_COMM_DEFAULT_OP_EXPANSION_MODE;
  config->hcclRdmaTrafficClass = HCCL_COMM_TRAFFIC_CLASS_CONFIG_NOT_SET;
  config->hcclRdmaServiceLevel = HCCL_COMM_SERVICE_LEVEL_CONFIG_NOT_SET;
  config->hcclExecTimeOut = (int32_t)HCCL_COMM_EXECTIMEOUT_CONFIG_NOT_SET;
  config->hcclQos = HCCL_COMM_QOS_CONFIG_NOT_SET;
}

/** One process, a device per rank: rank i is on devices[i]. Errors: HCCL_E_PARA (a device twice).
 */
ACL_FUNC_VISIBILITY HcclResult HcclCommInitAll(uint32_t ndev, int32_t *devices, HcclComm *comms);

/** Made by one rank, which hands it to the others by means of the program's own. */
ACL_FUNC_VISIBILITY HcclResult HcclGetRootInfo(HcclRootInfo *rootInfo);

/** Collective: waits until all have joined. The rank is on the calling thread's current device.
 * Errors: HCCL_E_TIMEOUT (HCCL_CONNECT_TIMEOUT), HCCL_E_RUNTIME (no current device). */
ACL_FUNC_VISIBILITY HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo *rootInfo,
                                                    uint32_t rank, HcclComm *comm);
ACL_FUNC_VISIBILITY HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks,
                                                          const HcclRootInfo *rootInfo,
                                                          uint32_t rank,
                                                          const HcclCommConfig *config,
                                                          HcclComm *comm);

/** The same with a rank table, a JSON file. Errors: also HCCL_E_OPEN_FILE_FAILURE, and
 * HCCL_E_NOT_SUPPORT for several servers. */
ACL_FUNC_VISIBILITY HcclResult HcclCommInitClusterInfo(const char *clusterInfo, uint32_t rank,
                                                       HcclComm *comm);
ACL_FUNC_VISIBILITY HcclResult HcclCommInitClusterInfoConfig(const char *clusterInfo, uint32_t rank,
                                                             HcclCommConfig *config,
                                                             HcclComm *comm);

/** Some of the ranks of *comm form a communicator: rankIds[subCommRankId] is this one. Collective
 * among the members; the others pass rankIds NULL and subCommId 0xFFFFFFFF and get NULL. Errors:
 * HCCL_E_TIMEOUT, HCCL_E_NOT_SUPPORT (*comm was split off itself). */
ACL_FUNC_VISIBILITY HcclResult HcclCreateSubCommConfig(HcclComm *comm, uint32_t rankNum,
                                                       uint32_t *rankIds, uint64_t subCommId,
                                                       uint32_t subCommRankId,
                                                       HcclCommConfig *config, HcclComm *subComm);

/** Local; peers may still be at work. Errors: HCCL_E_AGAIN while another thread uses it or its work
 * is not over. */
ACL_FUNC_VISIBILITY HcclResult HcclCommDestroy(HcclComm comm);

/** commName: 128 bytes. The same on all ranks; operators take it as `group`. */
ACL_FUNC_VISIBILITY HcclResult HcclGetCommName(HcclComm comm, char *commName);

/** The communicator of that name on the current device. Errors: HCCL_E_NOT_FOUND. */
ACL_FUNC_VISIBILITY HcclResult HcclCommGetHandleWithName(const char *commName, HcclComm *comm);
ACL_FUNC_VISIBILITY HcclResult HcclGetRankSize(HcclComm comm, uint32_t *rankSize);
ACL_FUNC_VISIBILITY HcclResult HcclGetRankId(HcclComm comm, uint32_t *rank);

/** Results are always deterministic; the setting is kept and given back. */
ACL_FUNC_VISIBILITY HcclResult HcclSetConfig(HcclConfig config, HcclConfigValue configValue);
ACL_FUNC_VISIBILITY HcclResult HcclGetConfig(HcclConfig config, HcclConfigValue *configValue);

/** *asyncError: what made the communicator unusable, or HCCL_SUCCESS. */
ACL_FUNC_VISIBILITY HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult *asyncError);

/** Static text. */
ACL_FUNC_VISIBILITY const char *HcclGetErrorString(HcclResult code);

ACL_FUNC_VISIBILITY uint32_t HcclGetCommConfigCapability(void);

#ifdef __cplusplus
}
#endif

#endif
