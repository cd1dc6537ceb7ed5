// SPDX-License-Identifier: Apache-2.0
// HCCL's codes: what of weft they are for, and their texts.
#include "hccl/hccl_comm.h"
#include "hccl_call.h"

namespace weft::cann {

HcclResult hccl_code(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return HCCL_SUCCESS;
    case StatusCode::kInvalidArgument:
    case StatusCode::kMismatch:
      return HCCL_E_PARA;
    case StatusCode::kUnimplemented:
      return HCCL_E_NOT_SUPPORT;
    case StatusCode::kTimeout:
      return HCCL_E_TIMEOUT;
    case StatusCode::kPeerLost:
      return HCCL_E_REMOTE;
    case StatusCode::kOutOfMemory:
      return HCCL_E_MEMORY;
    case StatusCode::kInternal:
      break;
  }
  return HCCL_E_INTERNAL;
}

}  // namespace weft::cann

const char* HcclGetErrorString(HcclResult code) {
  switch (weft::cann::number_of(code)) {
    case HCCL_SUCCESS:
      return "no error";
    case HCCL_E_PARA:
      return "invalid argument";
    case HCCL_E_PTR:
      return "null pointer, or a handle that is none";
    case HCCL_E_MEMORY:
      return "out of memory";
    case HCCL_E_INTERNAL:
      return "internal error";
    case HCCL_E_NOT_SUPPORT:
      return "not supported";
    case HCCL_E_NOT_FOUND:
      return "not found";
    case HCCL_E_UNAVAIL:
      return "resource unavailable";
    case HCCL_E_SYSCALL:
      return "system call failed";
    case HCCL_E_TIMEOUT:
      return "time-out";
    case HCCL_E_OPEN_FILE_FAILURE:
      return "file cannot be opened";
    case HCCL_E_TCP_CONNECT:
      return "tcp connection failed";
    case HCCL_E_ROCE_CONNECT:
      return "roce connection failed";
    case HCCL_E_TCP_TRANSFER:
      return "tcp transfer failed";
    case HCCL_E_ROCE_TRANSFER:
      return "roce transfer failed";
    case HCCL_E_RUNTIME:
      return "runtime call failed";
    case HCCL_E_DRV:
      return "driver call failed";
    case HCCL_E_PROFILING:
      return "profiling failed";
    case HCCL_E_CCE:
      return "cce call failed";
    case HCCL_E_NETWORK:
      return "network error";
    case HCCL_E_AGAIN:
      return "in use, try again";
    case HCCL_E_REMOTE:
      return "another rank failed or was lost";
    case HCCL_E_SUSPENDING:
      return "communicator is suspended";
    case HCCL_E_OPRETRY_FAIL:
      return "retry failed";
    case HCCL_E_OOM:
      return "out of device memory";
    case HCCL_E_IN_STATUS:
      return "error in a status of the hardware";
    default:
      return "unknown code";
  }
}
