// SPDX-License-Identifier: Apache-2.0
// A mixture without pairs on 8 devices: dispatch, then a barrier in a communicator and a stream of
// its own, then combine with residual and norm. Headers by their relative paths; a mask that comes
// from a host vector of integers, four times as long as its declaration says.
#include <iostream>
#include <thread>
#include <vector>

#include "../op_host/op_api/aclnn_distribute_barrier.h"
#include "../op_host/op_api/aclnn_moe_distribute_combine_add_rms_norm.h"
#include "../op_host/op_api/aclnn_moe_distribute_dispatch_v2.h"
#include "acl/acl.h"
#include "hccl/hccl.h"

#define CHECK(call)                                                      \
  do {                                                                   \
    const int code = (call);                                             \
    if (code != 0) {                                                     \
      printf("[ERROR] %s: %d: %s\n", #call, code, aclGetRecentErrMsg()); \
      return code;                                                       \
    }                                                                    \
  } while (0)

constexpr int DEV_NUM = 8;
constexpr int64_t Bs = 8, H = 7168, K = 3, moeExpertNum = 8, A = Bs * DEV_NUM;
constexpr int16_t kOne = 0x3f80;  // of bfloat16

struct Operand {
  void* address = nullptr;
  aclTensor* tensor = nullptr;

  template <typename T>
  int Create(const std::vector<T>& host, const std::vector<int64_t>& shape, aclDataType type) {
    const size_t size = host.size() * sizeof(T);
    if (size > 0) {
      CHECK(aclrtMalloc(&address, size, ACL_MEM_MALLOC_HUGE_FIRST));
      CHECK(aclrtMemcpy(address, size, host.data(), size, ACL_MEMCPY_HOST_TO_DEVICE));
    }
    tensor = aclCreateTensor(shape.data(), shape.size(), type, nullptr, 0, ACL_FORMAT_ND,
                             shape.data(), shape.size(), address);
    return tensor == nullptr;
  }
  void Destroy() {
    aclDestroyTensor(tensor);
    if (address != nullptr) aclrtFree(address);
  }
};

struct Workspace {
  uint64_t size = 0;
  void* address = nullptr;
  aclOpExecutor* executor = nullptr;
  int Allocate() {
    return size > 0 ? aclrtMalloc(&address, size, ACL_MEM_MALLOC_HUGE_FIRST) : ACL_SUCCESS;
  }
};

int Run(int rank, HcclComm comm, HcclComm barrierComm) {
  CHECK(aclrtSetDevice(rank));
  aclrtStream stream, barrierStream;
  CHECK(aclrtCreateStream(&stream));
  CHECK(aclrtCreateStream(&barrierStream));
  char group[128], barrierGroup[128];
  CHECK(HcclGetCommName(comm, group));
  CHECK(HcclGetCommName(barrierComm, barrierGroup));

  std::vector<int32_t> ids;
  for (int64_t i = 0; i < Bs * K; i++)
    ids.push_back(static_cast<int32_t>((i / K + i % K) % moeExpertNum));
  Operand x, expertIds, scales, mask, expandX, dynamicScales, assist, nums, counts, tpCounts;
  Operand expandScales, residual, gamma, y, rstd, xOut;
  CHECK(x.Create(std::vector<int16_t>(Bs * H, kOne), {Bs, H}, ACL_BF16));
  CHECK(expertIds.Create(ids, {Bs, K}, ACL_INT32));
  CHECK(scales.Create(std::vector<float>(Bs * K, 0.5f), {Bs, K}, ACL_FLOAT));
  CHECK(mask.Create(std::vector<int32_t>(Bs, 0x01010101), {Bs}, ACL_BOOL));
  CHECK(expandX.Create(std::vector<int16_t>(A * H, 0), {A, H}, ACL_BF16));
  CHECK(dynamicScales.Create(std::vector<float>(A, 0), {A}, ACL_FLOAT));
  CHECK(assist.Create(std::vector<int32_t>(A * 128, 0), {A * 128}, ACL_INT32));
  CHECK(nums.Create(std::vector<int64_t>(1, 0), {1}, ACL_INT64));
  CHECK(counts.Create(std::vector<int32_t>(DEV_NUM, 0), {DEV_NUM}, ACL_INT32));
  CHECK(tpCounts.Create(std::vector<int32_t>(1, 0), {1}, ACL_INT32));
  CHECK(expandScales.Create(std::vector<float>(A, 0), {A}, ACL_FLOAT));
  CHECK(residual.Create(std::vector<int16_t>(Bs * H, kOne), {Bs, 1, H}, ACL_BF16));
  CHECK(gamma.Create(std::vector<int16_t>(H, kOne), {H}, ACL_BF16));
  CHECK(y.Create(std::vector<int16_t>(Bs * H, 0), {Bs, 1, H}, ACL_BF16));
  CHECK(rstd.Create(std::vector<float>(Bs, 0), {Bs, 1, 1}, ACL_FLOAT));
  CHECK(xOut.Create(std::vector<int16_t>(Bs * H, 0), {Bs, 1, H}, ACL_BF16));

  Workspace dispatch, barrier, combine;
  CHECK(aclnnMoeDistributeDispatchV2GetWorkspaceSize(
      x.tensor, expertIds.tensor, nullptr, mask.tensor, scales.tensor, group, DEV_NUM, rank,
      moeExpertNum, "", 1, 0, 0, 0, 0, 0, 0, 1, nullptr, expandX.tensor, dynamicScales.tensor,
      assist.tensor, nums.tensor, counts.tensor, tpCounts.tensor, expandScales.tensor,
      &dispatch.size, &dispatch.executor));
  CHECK(dispatch.Allocate());
  CHECK(aclnnMoeDistributeDispatchV2(dispatch.address, dispatch.size, dispatch.executor, stream));
  CHECK(aclrtSynchronizeStreamWithTimeout(stream, 10000));
  CHECK(aclnnDistributeBarrierGetWorkspaceSize(expandX.tensor, barrierGroup, DEV_NUM, &barrier.size,
                                               &barrier.executor));
  CHECK(barrier.Allocate());
  CHECK(aclnnDistributeBarrier(barrier.address, barrier.size, barrier.executor, barrierStream));
  CHECK(aclrtSynchronizeStreamWithTimeout(barrierStream, 10000));
  CHECK(aclnnMoeDistributeCombineAddRmsNormGetWorkspaceSize(
      expandX.tensor, expertIds.tensor, assist.tensor, counts.tensor, scales.tensor,
      residual.tensor, gamma.tensor, nullptr, mask.tensor, nullptr, nullptr, nullptr, nullptr,
      nullptr, group, DEV_NUM, rank, moeExpertNum, "", 1, 0, 0, 0, 0, 0, 0, 0, 1, nullptr, 1e-6f,
      y.tensor, rstd.tensor, xOut.tensor, &combine.size, &combine.executor));
  CHECK(combine.Allocate());
  CHECK(
      aclnnMoeDistributeCombineAddRmsNorm(combine.address, combine.size, combine.executor, stream));
  CHECK(aclrtSynchronizeStreamWithTimeout(stream, 10000));

  // 3 · 0.5 · 1 + 1 = 2.5 everywhere, and its norm is 1.
  std::vector<uint16_t> sums(Bs * H), norms(Bs * H);
  const size_t bytes = sums.size() * sizeof(uint16_t);
  CHECK(aclrtMemcpy(sums.data(), bytes, xOut.address, bytes, ACL_MEMCPY_DEVICE_TO_HOST));
  CHECK(aclrtMemcpy(norms.data(), bytes, y.address, bytes, ACL_MEMCPY_DEVICE_TO_HOST));
  for (size_t i = 0; i < sums.size(); i++)
    if (sums[i] != 0x4020 || norms[i] != kOne) {
      printf("[ERROR] %zu: %x %x\n", i, sums[i], norms[i]);
      return -1;
    }
  for (Operand* operand : {&x, &expertIds, &scales, &mask, &expandX, &dynamicScales, &assist, &nums,
                           &counts, &tpCounts, &expandScales, &residual, &gamma, &y, &rstd, &xOut})
    operand->Destroy();
  for (Workspace* workspace : {&dispatch, &barrier, &combine})
    if (workspace->address != nullptr) CHECK(aclrtFree(workspace->address));
  CHECK(HcclCommDestroy(comm));
  CHECK(HcclCommDestroy(barrierComm));
  CHECK(aclrtDestroyStream(stream));
  CHECK(aclrtDestroyStream(barrierStream));
  CHECK(aclrtResetDevice(rank));
  printf("[INFO] device_%d execute successfully.\n", rank);
  return 0;
}

int main(int, char**) {
  CHECK(aclInit(nullptr));
  int32_t devices[DEV_NUM];
  HcclComm comms[DEV_NUM], barrierComms[DEV_NUM];
  for (int i = 0; i < DEV_NUM; i++) devices[i] = i;
  CHECK(HcclCommInitAll(DEV_NUM, devices, comms));
  CHECK(HcclCommInitAll(DEV_NUM, devices, barrierComms));
  std::vector<std::thread> threads;
  for (int i = 0; i < DEV_NUM; i++) threads.emplace_back(Run, i, comms[i], barrierComms[i]);
  for (auto& thread : threads) thread.join();
  CHECK(aclFinalize());
  return 0;
}
