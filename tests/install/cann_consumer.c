/* SPDX-License-Identifier: Apache-2.0 */
/* A program written for CANN, as unchanged sources are: relative operator header, old link names. */
#include "../op_host/op_api/aclnn_util.h"
#include "acl/acl.h"
#include "aclnn_util.h"
#include "hccl/hccl_types.h"

int main(void) {
  aclrtStream stream;
  void *memory;
  char from[8] = "weft", to[8] = "";
  if (aclInit(NULL) != ACL_SUCCESS || aclrtSetDevice(7) != ACL_SUCCESS ||
      aclrtCreateStream(&stream) != ACL_SUCCESS ||
      aclrtMalloc(&memory, 8, ACL_MEM_MALLOC_HUGE_FIRST) != ACL_SUCCESS)
    return 1;
  if (aclrtMemcpyAsync(memory, 8, from, 8, ACL_MEMCPY_HOST_TO_DEVICE, stream) != ACL_SUCCESS ||
      aclrtMemcpyAsync(to, 8, memory, 8, ACL_MEMCPY_DEVICE_TO_HOST, stream) != ACL_SUCCESS ||
      aclrtSynchronizeStream(stream) != ACL_SUCCESS || to[0] != 'w')
    return 1;
  return aclrtFree(memory) || aclrtDestroyStream(stream) || aclrtResetDevice(7) || aclFinalize();
}
