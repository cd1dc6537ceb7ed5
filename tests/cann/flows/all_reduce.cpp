// SPDX-License-Identifier: Apache-2.0
// What a program does that drives eight devices from one process, in the order and with the
// includes that are usual for CANN: the operator's header brings everything else. Contexts and
// streams are made by main, used and destroyed by threads; residues of one rank are gone while
// others still work.
#include <iostream>
#include <thread>
#include <vector>

#include "../op_host/op_api/aclnn_matmul_all_reduce_v2.h"

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

constexpr uint32_t DEV_NUM = 8;
constexpr int64_t M = 32, K = 64, N = 128;
constexpr uint16_t HALF_ONE = 0x3C00;

struct Args {
  uint32_t rankId;
  HcclComm hcclComm;
  aclrtStream stream;
  aclrtContext context;
};

int CreateAclTensor(const std::vector<uint16_t>& hostData, const std::vector<int64_t>& shape,
                    void** deviceAddr, aclTensor** tensor) {
  auto size = hostData.size() * sizeof(uint16_t);
  auto ret = aclrtMalloc(deviceAddr, size, ACL_MEM_MALLOC_HUGE_FIRST);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMalloc failed. ret: %d\n", ret);
            return ret);
  ret = aclrtMemcpy(*deviceAddr, size, hostData.data(), size, ACL_MEMCPY_HOST_TO_DEVICE);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMemcpy failed. ret: %d\n", ret);
            return ret);
  std::vector<int64_t> strides(shape.size(), 1);
  for (int64_t i = static_cast<int64_t>(shape.size()) - 2; i >= 0; i--)
    strides[i] = shape[i + 1] * strides[i + 1];
  *tensor = aclCreateTensor(shape.data(), shape.size(), aclDataType::ACL_FLOAT16, strides.data(), 0,
                            aclFormat::ACL_FORMAT_ND, shape.data(), shape.size(), *deviceAddr);
  return 0;
}

int LaunchOneThread(Args& args) {
  int ret = aclrtSetCurrentContext(args.context);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtSetCurrentContext failed. ret: %d\n", ret);
            return ret);
  char hcomName[128] = {0};
  ret = HcclGetCommName(args.hcclComm, hcomName);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] HcclGetCommName failed. ret: %d\n", ret);
            return -1);

  void *x1Addr = nullptr, *x2Addr = nullptr, *x3Addr = nullptr, *outAddr = nullptr,
       *workspaceAddr = nullptr;
  aclTensor *x1 = nullptr, *x2 = nullptr, *x3 = nullptr, *out = nullptr;
  ret = CreateAclTensor(std::vector<uint16_t>(M * K, HALF_ONE), {M, K}, &x1Addr, &x1);
  CHECK_RET(ret == 0, return ret);
  ret = CreateAclTensor(std::vector<uint16_t>(K * N, HALF_ONE), {K, N}, &x2Addr, &x2);
  CHECK_RET(ret == 0, return ret);
  ret = CreateAclTensor(std::vector<uint16_t>(M * N, HALF_ONE), {M, N}, &x3Addr, &x3);
  CHECK_RET(ret == 0, return ret);
  ret = CreateAclTensor(std::vector<uint16_t>(M * N, 0), {M, N}, &outAddr, &out);
  CHECK_RET(ret == 0, return ret);

  uint64_t workspaceSize;
  aclOpExecutor* executor;
  ret = aclnnMatmulAllReduceV2GetWorkspaceSize(x1, x2, nullptr, x3, hcomName, "sum", 0, 1, out,
                                               &workspaceSize, &executor);
  CHECK_RET(ret == ACL_SUCCESS,
            LOG_PRINT("[ERROR] GetWorkspaceSize failed. ret: %d %s\n", ret, aclGetRecentErrMsg());
            return ret);
  if (workspaceSize > 0) {
    ret = aclrtMalloc(&workspaceAddr, workspaceSize, ACL_MEM_MALLOC_HUGE_FIRST);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMalloc workspace failed. ret: %d\n", ret);
              return ret);
  }
  ret = aclnnMatmulAllReduceV2(workspaceAddr, workspaceSize, executor, args.stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclnnMatmulAllReduceV2 failed. ret: %d\n", ret);
            return ret);
  ret = aclrtSynchronizeStreamWithTimeout(args.stream, 10000);
  CHECK_RET(ret == ACL_SUCCESS,
            LOG_PRINT("[ERROR] aclrtSynchronizeStreamWithTimeout failed. ret: %d\n", ret);
            return ret);

  std::vector<uint16_t> result(M * N);
  ret = aclrtMemcpy(result.data(), result.size() * sizeof(uint16_t), outAddr,
                    result.size() * sizeof(uint16_t), ACL_MEMCPY_DEVICE_TO_HOST);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMemcpy back failed. ret: %d\n", ret);
            return ret);
  for (uint16_t value : result) {
    CHECK_RET(aclFloat16ToFloat(value) == DEV_NUM * (K + 1),
              LOG_PRINT("[ERROR] wrong value %f\n", aclFloat16ToFloat(value));
              return -1);
  }
  LOG_PRINT("[INFO] device_%d execute successfully.\n", args.rankId);

  for (auto tensor : {x1, x2, x3, out}) aclDestroyTensor(tensor);
  for (auto address : {x1Addr, x2Addr, x3Addr, outAddr, workspaceAddr}) {
    if (address != nullptr) aclrtFree(address);
  }
  ret = aclrtDestroyStream(args.stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtDestroyStream failed. ret: %d\n", ret);
            return ret);
  ret = HcclCommDestroy(args.hcclComm);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] HcclCommDestroy failed. ret: %d\n", ret);
            return ret);
  ret = aclrtDestroyContext(args.context);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtDestroyContext failed. ret: %d\n", ret);
            return ret);
  ret = aclrtResetDevice(args.rankId);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtResetDevice failed. ret: %d\n", ret);
            return ret);
  return 0;
}

int main(int, char**) {
  int ret = aclInit(nullptr);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclInit failed. ret: %d\n", ret); return ret);
  aclrtStream stream[DEV_NUM];
  aclrtContext context[DEV_NUM];
  int32_t devices[DEV_NUM];
  for (uint32_t rankId = 0; rankId < DEV_NUM; rankId++) {
    devices[rankId] = static_cast<int32_t>(rankId);
    ret = aclrtSetDevice(devices[rankId]);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtSetDevice failed. ret: %d\n", ret);
              return ret);
  }
  HcclComm comms[DEV_NUM];
  ret = HcclCommInitAll(DEV_NUM, devices, comms);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] HcclCommInitAll failed. ret: %d\n", ret);
            return ret);
  for (uint32_t rankId = 0; rankId < DEV_NUM; rankId++) {
    ret = aclrtSetDevice(static_cast<int32_t>(rankId));
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtSetDevice failed. ret: %d\n", ret);
              return ret);
    ret = aclrtCreateContext(&context[rankId], static_cast<int32_t>(rankId));
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtCreateContext failed. ret: %d\n", ret);
              return ret);
    ret = aclrtCreateStream(&stream[rankId]);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtCreateStream failed. ret: %d\n", ret);
              return ret);
  }
  Args args[DEV_NUM];
  std::vector<std::unique_ptr<std::thread>> threads(DEV_NUM);
  for (uint32_t rankId = 0; rankId < DEV_NUM; rankId++) {
    args[rankId].rankId = rankId;
    args[rankId].hcclComm = comms[rankId];
    args[rankId].stream = stream[rankId];
    args[rankId].context = context[rankId];
    threads[rankId].reset(new (std::nothrow) std::thread(&LaunchOneThread, std::ref(args[rankId])));
  }
  for (uint32_t rankId = 0; rankId < DEV_NUM; rankId++) threads[rankId]->join();
  aclFinalize();
  return 0;
}
