// SPDX-License-Identifier: Apache-2.0
// What examples of FFN look like: floats on the host behind tensors that are declared half, so that
// the operator reads any bits, an output that is uploaded from a host vector shorter than itself,
// and results that are printed as if they were floats. Nothing about it may fail.
#include <cstdio>
#include <vector>

#include "acl/acl.h"
#include "aclnnop/aclnn_ffn_v3.h"

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

int64_t GetShapeSize(const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (auto i : shape) size *= i;
  return size;
}

int Init(int32_t deviceId, aclrtStream* stream) {
  auto ret = aclInit(nullptr);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclInit: ERROR %d\n", ret); return ret);
  ret = aclrtSetDevice(deviceId);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclrtSetDevice: ERROR %d\n", ret); return ret);
  ret = aclrtCreateStream(stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclrtCreateStream: ERROR %d\n", ret); return ret);
  return 0;
}

template <typename T>
int CreateAclTensor(const std::vector<T>& hostData, const std::vector<int64_t>& shape,
                    void** deviceAddr, aclDataType dataType, aclTensor** tensor) {
  const auto size = GetShapeSize(shape) * sizeof(T);
  auto ret = aclrtMalloc(deviceAddr, size, ACL_MEM_MALLOC_HUGE_FIRST);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclrtMalloc: ERROR %d\n", ret); return ret);
  ret = aclrtMemcpy(*deviceAddr, size, hostData.data(), size, ACL_MEMCPY_HOST_TO_DEVICE);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclrtMemcpy: ERROR %d\n", ret); return ret);
  std::vector<int64_t> strides(shape.size(), 1);
  for (int64_t i = static_cast<int64_t>(shape.size()) - 2; i >= 0; i--)
    strides[i] = shape[i + 1] * strides[i + 1];
  *tensor = aclCreateTensor(shape.data(), shape.size(), dataType, strides.data(), 0, ACL_FORMAT_ND,
                            shape.data(), shape.size(), *deviceAddr);
  return 0;
}

int main() {
  const int32_t deviceId = 0;
  aclrtStream stream;
  auto ret = Init(deviceId, &stream);
  CHECK_RET(ret == 0, return ret);

  const std::vector<int64_t> selfShape = {4, 2}, weight1Shape = {2, 2}, weight2Shape = {2, 2},
                             outShape = {4, 2};
  void *selfAddr = nullptr, *weight1Addr = nullptr, *weight2Addr = nullptr, *outAddr = nullptr;
  aclTensor *self = nullptr, *weight1 = nullptr, *weight2 = nullptr, *out = nullptr;
  const std::vector<float> selfData = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f};
  const std::vector<float> weightData = {0.1f, 0.2f, 0.3f, 0.4f};
  std::vector<float> outData;
  outData.reserve(8);
  outData.assign(4, 0);
  ret = CreateAclTensor(selfData, selfShape, &selfAddr, ACL_FLOAT16, &self);
  CHECK_RET(ret == ACL_SUCCESS, return ret);
  ret = CreateAclTensor(weightData, weight1Shape, &weight1Addr, ACL_FLOAT16, &weight1);
  CHECK_RET(ret == ACL_SUCCESS, return ret);
  ret = CreateAclTensor(weightData, weight2Shape, &weight2Addr, ACL_FLOAT16, &weight2);
  CHECK_RET(ret == ACL_SUCCESS, return ret);
  ret = CreateAclTensor(outData, outShape, &outAddr, ACL_FLOAT16, &out);
  CHECK_RET(ret == ACL_SUCCESS, return ret);

  uint64_t workspaceSize = 0;
  aclOpExecutor* executor;
  void* workspaceAddr = nullptr;
  ret = aclnnFFNV3GetWorkspaceSize(self, weight1, weight2, nullptr, nullptr, nullptr, nullptr,
                                   nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                   "relu", 1, false, out, &workspaceSize, &executor);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclnnFFNV3GetWorkspaceSize: ERROR %d\n", ret);
            return ret);
  if (workspaceSize > 0) {
    ret = aclrtMalloc(&workspaceAddr, workspaceSize, ACL_MEM_MALLOC_HUGE_FIRST);
    CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("workspace: ERROR %d\n", ret); return ret);
  }
  ret = aclnnFFNV3(workspaceAddr, workspaceSize, executor, stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclnnFFNV3: ERROR %d\n", ret); return ret);
  ret = aclrtSynchronizeStream(stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclrtSynchronizeStream: ERROR %d\n", ret); return ret);

  const auto size = GetShapeSize(outShape);
  std::vector<float> result(size, 0);
  ret = aclrtMemcpy(result.data(), size * sizeof(result[0]), outAddr, size * sizeof(float),
                    ACL_MEMCPY_DEVICE_TO_HOST);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("result: ERROR %d\n", ret); return ret);
  for (int64_t i = 0; i < size; i++)
    LOG_PRINT("result[%ld] is: %f\n", static_cast<long>(i), static_cast<double>(result[i]));

  for (auto tensor : {self, weight1, weight2, out}) aclDestroyTensor(tensor);
  for (auto address : {selfAddr, weight1Addr, weight2Addr, outAddr, workspaceAddr})
    if (address != nullptr) aclrtFree(address);
  aclrtDestroyStream(stream);
  aclrtResetDevice(deviceId);
  aclFinalize();
  return 0;
}
