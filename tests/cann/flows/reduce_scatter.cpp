// SPDX-License-Identifier: Apache-2.0
// The other usual shape of a program for CANN: main makes streams in the default contexts, a thread
// sets the device again and uses its stream; main destroys the communicators after all devices but
// the last were reset once, with whatever device is current.
#include <iostream>
#include <thread>
#include <vector>

#include "../op_host/op_api/aclnn_matmul_reduce_scatter.h"

#define CHECK_RET(cond, return_expr) \
  do {                               \
    if (!(cond)) {                   \
      return_expr;                   \
    }                                \
  } while (0)

#define LOG_PRINT(message, ...)     \
  do {                              \
    printf(message, ##__VA_ARGS__); \
  } while (0)

constexpr int DEV_NUM = 8;
constexpr int64_t M = 1024, K = 256, N = 512;

struct Args {
  int rankId;
  HcclComm hcclComm;
  aclrtStream stream;
};

aclTensor* CreateAclTensor(const std::vector<int64_t>& shape, int16_t value, void** deviceAddr) {
  std::vector<int16_t> host(shape[0] * shape[1], value);
  const size_t size = host.size() * sizeof(int16_t);
  if (aclrtMalloc(deviceAddr, size, ACL_MEM_MALLOC_HUGE_FIRST) != ACL_SUCCESS) return nullptr;
  if (aclrtMemcpy(*deviceAddr, size, host.data(), size, ACL_MEMCPY_HOST_TO_DEVICE) != ACL_SUCCESS)
    return nullptr;
  return aclCreateTensor(shape.data(), shape.size(), ACL_FLOAT16, nullptr, 0, ACL_FORMAT_ND,
                         shape.data(), shape.size(), *deviceAddr);
}

int LaunchOneThread(Args& args) {
  int ret = aclrtSetDevice(args.rankId);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtSetDevice failed. ret: %d\n", ret);
            return ret);
  char hcomName[128] = {0};
  ret = HcclGetCommName(args.hcclComm, hcomName);
  CHECK_RET(ret == HCCL_SUCCESS, LOG_PRINT("[ERROR] HcclGetCommName failed. ret: %d\n", ret);
            return -1);
  // The bit pattern 1 is the smallest half: such inputs are usual in examples and must be taken.
  void *x1Addr = nullptr, *x2Addr = nullptr, *outAddr = nullptr, *workspaceAddr = nullptr;
  aclTensor* x1 = CreateAclTensor({M, K}, 1, &x1Addr);
  aclTensor* x2 = CreateAclTensor({K, N}, 1, &x2Addr);
  aclTensor* out = CreateAclTensor({M / DEV_NUM, N}, -1, &outAddr);
  CHECK_RET(x1 != nullptr && x2 != nullptr && out != nullptr, LOG_PRINT("[ERROR] no tensor\n");
            return -1);

  uint64_t workspaceSize = 0;
  aclOpExecutor* executor;
  ret = aclnnMatmulReduceScatterGetWorkspaceSize(x1, x2, nullptr, hcomName, "sum", 0, 1, out,
                                                 &workspaceSize, &executor);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] GetWorkspaceSize failed. ret: %d\n", ret);
            return ret);
  if (workspaceSize > 0) {
    ret = aclrtMalloc(&workspaceAddr, workspaceSize, ACL_MEM_MALLOC_HUGE_FIRST);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMalloc workspace failed. ret: %d\n", ret);
              return ret);
  }
  ret = aclnnMatmulReduceScatter(workspaceAddr, workspaceSize, executor, args.stream);
  CHECK_RET(ret == ACL_SUCCESS,
            LOG_PRINT("[ERROR] aclnnMatmulReduceScatter failed. ret: %d\n", ret);
            return ret);
  ret = aclrtSynchronizeStreamWithTimeout(args.stream, 10000);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] synchronize failed. ret: %d\n", ret);
            return ret);
  int16_t first = -1;
  ret = aclrtMemcpy(&first, sizeof(first), outAddr, sizeof(first), ACL_MEMCPY_DEVICE_TO_HOST);
  CHECK_RET(ret == ACL_SUCCESS && first == 0, LOG_PRINT("[ERROR] first value %d\n", first);
            return -1);
  LOG_PRINT("[INFO] device_%d execute successfully.\n", args.rankId);

  for (auto tensor : {x1, x2, out}) aclDestroyTensor(tensor);
  for (auto address : {x1Addr, x2Addr, outAddr, workspaceAddr}) {
    if (address != nullptr) aclrtFree(address);
  }
  ret = aclrtDestroyStream(args.stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtDestroyStream failed. ret: %d\n", ret);
            return ret);
  ret = aclrtResetDevice(args.rankId);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtResetDevice failed. ret: %d\n", ret);
            return ret);
  return 0;
}

int main(int, char**) {
  int ret = aclInit(nullptr);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclInit failed. ret: %d\n", ret); return ret);
  static int ndev = DEV_NUM;
  aclrtStream stream[ndev];  // an extension of GNU C++ that such programs use
  int32_t devices[DEV_NUM];
  for (int i = 0; i < ndev; i++) {
    devices[i] = i;
    ret = aclrtSetDevice(i);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtSetDevice failed. ret: %d\n", ret);
              return ret);
    ret = aclrtCreateStream(&stream[i]);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtCreateStream failed. ret: %d\n", ret);
              return ret);
  }
  HcclComm comms[DEV_NUM];
  ret = HcclCommInitAll(DEV_NUM, devices, comms);
  CHECK_RET(ret == HCCL_SUCCESS, LOG_PRINT("[ERROR] HcclCommInitAll failed. ret: %d\n", ret);
            return ret);
  Args args[DEV_NUM];
  std::vector<std::unique_ptr<std::thread>> threads(DEV_NUM);
  for (int i = 0; i < ndev; i++) {
    args[i] = {i, comms[i], stream[i]};
    threads[i].reset(new (std::nothrow) std::thread(&LaunchOneThread, std::ref(args[i])));
  }
  for (int i = 0; i < ndev; i++) threads[i]->join();
  for (int i = 0; i < ndev; i++) {
    ret = HcclCommDestroy(comms[i]);
    CHECK_RET(ret == HCCL_SUCCESS, LOG_PRINT("[ERROR] HcclCommDestroy failed. ret: %d\n", ret);
              return ret);
  }
  aclFinalize();
  return 0;
}
