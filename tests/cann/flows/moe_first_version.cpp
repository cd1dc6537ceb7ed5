// SPDX-License-Identifier: Apache-2.0
// A mixture on 16 devices in the way of CANN's first versions: main makes all communicators, two of
// eight devices and eight of two; a thread per device dispatches in one stream and combines in
// another, and destroys both communicators, its streams and its context before it resets its
// device.
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "acl/acl.h"
#include "aclnnop/aclnn_moe_distribute_combine.h"
#include "aclnnop/aclnn_moe_distribute_dispatch.h"
#include "hccl/hccl.h"

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

struct Args {
  uint32_t rankId, epRankId, tpRankId;
  HcclComm hcclEpComm, hcclTpComm;
  aclrtStream dispatchStream, combineStream;
  aclrtContext context;
};

constexpr uint32_t EP_WORLD_SIZE = 8, TP_WORLD_SIZE = 2, DEV_NUM = EP_WORLD_SIZE * TP_WORLD_SIZE;
constexpr int64_t Bs = 8, H = 7168, K = 3, sharedExpertNum = 1, sharedExpertRankNum = 1;
constexpr int64_t moeExpertNum = EP_WORLD_SIZE - sharedExpertRankNum, globalBs = Bs * EP_WORLD_SIZE;

template <typename T>
int CreateAclTensor(const std::vector<T>& hostData, const std::vector<int64_t>& shape,
                    void** deviceAddr, aclDataType dataType, aclTensor** tensor) {
  const size_t size = hostData.size() * sizeof(T);
  *deviceAddr = nullptr;
  if (size > 0) {
    auto ret = aclrtMalloc(deviceAddr, size, ACL_MEM_MALLOC_HUGE_FIRST);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMalloc failed. ret: %d\n", ret);
              return ret);
    ret = aclrtMemcpy(*deviceAddr, size, hostData.data(), size, ACL_MEMCPY_HOST_TO_DEVICE);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMemcpy failed. ret: %d\n", ret);
              return ret);
  }
  *tensor = aclCreateTensor(shape.data(), shape.size(), dataType, nullptr, 0, ACL_FORMAT_ND,
                            shape.data(), shape.size(), *deviceAddr);
  return *tensor == nullptr ? -1 : 0;
}

/// Both phases, and the end of the stream.
template <typename First, typename Second>
int Launch(const char* name, First first, Second second, aclrtStream stream) {
  uint64_t workspaceSize = 0;
  aclOpExecutor* executor = nullptr;
  void* workspaceAddr = nullptr;
  auto ret = first(&workspaceSize, &executor);
  CHECK_RET(ret == ACL_SUCCESS,
            LOG_PRINT("[ERROR] %s: first phase %d: %s\n", name, ret, aclGetRecentErrMsg());
            return ret);
  if (workspaceSize > 0) {
    ret = aclrtMalloc(&workspaceAddr, workspaceSize, ACL_MEM_MALLOC_HUGE_FIRST);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtMalloc failed. ret: %d\n", ret);
              return ret);
  }
  ret = second(workspaceAddr, workspaceSize, executor, stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] %s: second phase %d\n", name, ret); return ret);
  ret = aclrtSynchronizeStreamWithTimeout(stream, 10000);
  CHECK_RET(ret == ACL_SUCCESS,
            LOG_PRINT("[ERROR] %s: stream %d: %s\n", name, ret, aclGetRecentErrMsg());
            return ret);
  if (workspaceAddr != nullptr) aclrtFree(workspaceAddr);
  return 0;
}

int LaunchOneThread(Args& args) {
  int ret = aclrtSetCurrentContext(args.context);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclrtSetCurrentContext failed. ret: %d\n", ret);
            return ret);
  char epName[128] = {0}, tpName[128] = {0};
  CHECK_RET(HcclGetCommName(args.hcclEpComm, epName) == HCCL_SUCCESS &&
                HcclGetCommName(args.hcclTpComm, tpName) == HCCL_SUCCESS,
            LOG_PRINT("[ERROR] HcclGetCommName failed\n");
            return -1);
  const bool shared = args.epRankId < sharedExpertRankNum;
  const int64_t localExpertNum = shared ? 1 : moeExpertNum / (EP_WORLD_SIZE - sharedExpertRankNum);
  const int64_t A = shared ? globalBs / sharedExpertRankNum : globalBs * localExpertNum;
  const int64_t rows = TP_WORLD_SIZE * A, counts = TP_WORLD_SIZE * localExpertNum * EP_WORLD_SIZE;

  std::vector<int32_t> ids;
  for (int64_t token = 0; token < Bs; token++)
    for (int64_t k = 0; k < K; k++) ids.push_back(static_cast<int32_t>(k));
  std::vector<void*> addresses(12, nullptr);
  std::vector<aclTensor*> t(12, nullptr);
  // Bits of bfloat16 in integers, as examples have them.
  ret = CreateAclTensor(std::vector<int16_t>(Bs * H, 1), {Bs, H}, &addresses[0], ACL_BF16, &t[0]);
  ret |= CreateAclTensor(ids, {Bs, K}, &addresses[1], ACL_INT32, &t[1]);
  ret |= CreateAclTensor(std::vector<float>(Bs * K, 0), {Bs, K}, &addresses[2], ACL_FLOAT, &t[2]);
  ret |=
      CreateAclTensor(std::vector<int16_t>(rows * H, 0), {rows, H}, &addresses[3], ACL_BF16, &t[3]);
  ret |= CreateAclTensor(std::vector<float>(rows, 0), {rows}, &addresses[4], ACL_FLOAT, &t[4]);
  ret |=
      CreateAclTensor(std::vector<int32_t>(Bs * K, 0), {Bs * K}, &addresses[5], ACL_INT32, &t[5]);
  ret |= CreateAclTensor(std::vector<int64_t>(localExpertNum, 0), {localExpertNum}, &addresses[6],
                         ACL_INT64, &t[6]);
  ret |=
      CreateAclTensor(std::vector<int32_t>(counts, 0), {counts}, &addresses[7], ACL_INT32, &t[7]);
  ret |= CreateAclTensor(std::vector<int32_t>(TP_WORLD_SIZE, 0), {TP_WORLD_SIZE}, &addresses[8],
                         ACL_INT32, &t[8]);
  ret |= CreateAclTensor(std::vector<float>(A, 0), {A}, &addresses[9], ACL_FLOAT, &t[9]);
  ret |=
      CreateAclTensor(std::vector<int16_t>(Bs * H, -1), {Bs, H}, &addresses[10], ACL_BF16, &t[10]);
  CHECK_RET(ret == 0, return ret);

  ret = Launch(
      "dispatch",
      [&](uint64_t* size, aclOpExecutor** executor) {
        return aclnnMoeDistributeDispatchGetWorkspaceSize(
            t[0], t[1], nullptr, nullptr, t[2], epName, EP_WORLD_SIZE, args.epRankId, moeExpertNum,
            tpName, TP_WORLD_SIZE, args.tpRankId, 0, sharedExpertNum, sharedExpertRankNum, 0,
            globalBs, 1, t[3], t[4], t[5], t[6], t[7], t[8], t[9], size, executor);
      },
      aclnnMoeDistributeDispatch, args.dispatchStream);
  CHECK_RET(ret == 0, return ret);
  ret = Launch(
      "combine",
      [&](uint64_t* size, aclOpExecutor** executor) {
        return aclnnMoeDistributeCombineGetWorkspaceSize(
            t[3], t[1], t[5], t[7], t[2], t[8], nullptr, nullptr, nullptr, nullptr, nullptr, epName,
            EP_WORLD_SIZE, args.epRankId, moeExpertNum, tpName, TP_WORLD_SIZE, args.tpRankId, 0,
            sharedExpertNum, sharedExpertRankNum, globalBs, 0, 0, 1, t[10], size, executor);
      },
      aclnnMoeDistributeCombine, args.combineStream);
  CHECK_RET(ret == 0, return ret);

  // The first three experts have a row of every token of both ranks of a pair.
  int64_t tokens = 0;
  aclrtMemcpy(&tokens, sizeof(tokens), addresses[6], sizeof(tokens), ACL_MEMCPY_DEVICE_TO_HOST);
  const bool chosen = shared || args.epRankId - sharedExpertRankNum < K;
  const int64_t wanted = shared ? 2 * globalBs : chosen ? 2 * globalBs : 0;
  CHECK_RET(tokens == wanted, LOG_PRINT("[ERROR] %ld tokens, not %ld\n", tokens, wanted);
            return -1);
  // All scales are 0, so what is left is the row of the shared expert: two equal halves.
  uint16_t first = 0;
  aclrtMemcpy(&first, sizeof(first), addresses[10], sizeof(first), ACL_MEMCPY_DEVICE_TO_HOST);
  CHECK_RET(first == 2, LOG_PRINT("[ERROR] first value %d\n", first); return -1);

  for (auto tensor : t)
    if (tensor != nullptr) aclDestroyTensor(tensor);
  for (auto address : addresses)
    if (address != nullptr) aclrtFree(address);
  HcclCommDestroy(args.hcclEpComm);
  HcclCommDestroy(args.hcclTpComm);
  aclrtDestroyStream(args.dispatchStream);
  aclrtDestroyStream(args.combineStream);
  aclrtDestroyContext(args.context);
  aclrtResetDevice(args.rankId);
  LOG_PRINT("[INFO] device_%u execute successfully.\n", args.rankId);
  return 0;
}

int main(int, char**) {
  int ret = aclInit(nullptr);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] aclInit failed. ret: %d\n", ret); return ret);
  Args args[DEV_NUM];
  for (uint32_t rank = 0; rank < DEV_NUM; rank++) {
    ret = aclrtSetDevice(rank);
    ret |= aclrtCreateContext(&args[rank].context, rank);
    ret |= aclrtCreateStream(&args[rank].dispatchStream);
    ret |= aclrtCreateStream(&args[rank].combineStream);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("[ERROR] device %u: %d\n", rank, ret); return ret);
  }
  HcclComm epComms[TP_WORLD_SIZE][EP_WORLD_SIZE], tpComms[EP_WORLD_SIZE][TP_WORLD_SIZE];
  for (uint32_t q = 0; q < TP_WORLD_SIZE; q++) {
    int32_t devices[EP_WORLD_SIZE];
    for (uint32_t r = 0; r < EP_WORLD_SIZE; r++) devices[r] = r * TP_WORLD_SIZE + q;
    ret = HcclCommInitAll(EP_WORLD_SIZE, devices, epComms[q]);
    CHECK_RET(ret == HCCL_SUCCESS, LOG_PRINT("[ERROR] HcclCommInitAll %d\n", ret); return ret);
  }
  for (uint32_t r = 0; r < EP_WORLD_SIZE; r++) {
    int32_t devices[TP_WORLD_SIZE];
    for (uint32_t q = 0; q < TP_WORLD_SIZE; q++) devices[q] = r * TP_WORLD_SIZE + q;
    ret = HcclCommInitAll(TP_WORLD_SIZE, devices, tpComms[r]);
    CHECK_RET(ret == HCCL_SUCCESS, LOG_PRINT("[ERROR] HcclCommInitAll %d\n", ret); return ret);
  }
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < DEV_NUM; rank++) {
    const uint32_t r = rank / TP_WORLD_SIZE, q = rank % TP_WORLD_SIZE;
    args[rank].rankId = rank;
    args[rank].epRankId = r;
    args[rank].tpRankId = q;
    args[rank].hcclEpComm = epComms[q][r];
    args[rank].hcclTpComm = tpComms[r][q];
    threads.emplace_back(LaunchOneThread, std::ref(args[rank]));
  }
  for (auto& thread : threads) thread.join();
  aclFinalize();
  return 0;
}
