// SPDX-License-Identifier: Apache-2.0
// What examples of the routing operators look like, one after the other: tiny literal data, null for
// what may be left out, results that are printed as if they were floats, and a host vector shorter
// than the tensor it is uploaded to. Nothing about it may fail.
#include <cstdio>
#include <vector>

#include "acl/acl.h"
#include "aclnnop/aclnn_moe_finalize_routing_v2.h"
#include "aclnnop/aclnn_moe_gating_top_k_softmax.h"
#include "aclnnop/aclnn_moe_init_routing.h"

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

struct DeviceTensor {
  void* addr = nullptr;
  aclTensor* tensor = nullptr;
  int64_t size = 0;
};

template <typename T>
int CreateAclTensor(const std::vector<T>& hostData, const std::vector<int64_t>& shape,
                    aclDataType dataType, DeviceTensor* out) {
  const auto size = GetShapeSize(shape) * sizeof(T);
  auto ret = aclrtMalloc(&out->addr, size, ACL_MEM_MALLOC_HUGE_FIRST);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclrtMalloc: ERROR %d\n", ret); return ret);
  ret = aclrtMemcpy(out->addr, size, hostData.data(), size, ACL_MEMCPY_HOST_TO_DEVICE);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("aclrtMemcpy: ERROR %d\n", ret); return ret);
  std::vector<int64_t> strides(shape.size(), 1);
  for (int64_t i = static_cast<int64_t>(shape.size()) - 2; i >= 0; i--)
    strides[i] = shape[i + 1] * strides[i + 1];
  out->size = GetShapeSize(shape);
  out->tensor = aclCreateTensor(shape.data(), shape.size(), dataType, strides.data(), 0,
                                ACL_FORMAT_ND, shape.data(), shape.size(), out->addr);
  return 0;
}

template <typename Second>
int Run(const char* name, aclnnStatus first, uint64_t workspaceSize, aclOpExecutor* executor,
        Second second, aclrtStream stream) {
  CHECK_RET(first == ACL_SUCCESS, LOG_PRINT("%sGetWorkspaceSize: ERROR %d\n", name, first);
            return first);
  void* workspace = nullptr;
  if (workspaceSize > 0) aclrtMalloc(&workspace, workspaceSize, ACL_MEM_MALLOC_HUGE_FIRST);
  auto ret = second(workspace, workspaceSize, executor, stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("%s: ERROR %d\n", name, ret); return ret);
  ret = aclrtSynchronizeStream(stream);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("synchronize %s: ERROR %d\n", name, ret); return ret);
  if (workspaceSize > 0) aclrtFree(workspace);
  return 0;
}

template <typename T>
int Print(const char* name, const char* format, const DeviceTensor& from) {
  std::vector<T> host(static_cast<size_t>(from.size), 0);
  auto ret = aclrtMemcpy(host.data(), host.size() * sizeof(T), from.addr, from.size * sizeof(T),
                         ACL_MEMCPY_DEVICE_TO_HOST);
  CHECK_RET(ret == ACL_SUCCESS, LOG_PRINT("copy back: ERROR %d\n", ret); return ret);
  LOG_PRINT("%s:", name);
  for (T value : host) LOG_PRINT(format, value);
  LOG_PRINT("\n");
  return 0;
}

int main() {
  aclrtStream stream;
  CHECK_RET(aclInit(nullptr) == ACL_SUCCESS, LOG_PRINT("ERROR aclInit\n"); return 1);
  CHECK_RET(aclrtSetDevice(0) == ACL_SUCCESS, LOG_PRINT("ERROR aclrtSetDevice\n"); return 1);
  CHECK_RET(aclrtCreateStream(&stream) == ACL_SUCCESS, LOG_PRINT("ERROR stream\n"); return 1);

  const std::vector<float> xData = {0.1f, 1.1f, 2.1f, 3.1f, 0.2f, 1.2f,
                                    2.2f, 3.2f, 3.3f, 2.3f, 1.3f, 0.3f};
  std::vector<float> zeros;
  zeros.reserve(24);
  zeros.assign(6, 0);
  const std::vector<int32_t> noIds(6, 0);
  DeviceTensor x, y, expertIdx, rowIdx, expandedX, expandedRow, expandedExpert, out;
  int ret = CreateAclTensor(xData, {3, 4}, ACL_FLOAT, &x);
  ret |= CreateAclTensor(zeros, {3, 2}, ACL_FLOAT, &y);
  ret |= CreateAclTensor(noIds, {3, 2}, ACL_INT32, &expertIdx);
  ret |= CreateAclTensor(noIds, {3, 2}, ACL_INT32, &rowIdx);
  ret |= CreateAclTensor(zeros, {6, 4}, ACL_FLOAT, &expandedX);
  ret |= CreateAclTensor(noIds, {6}, ACL_INT32, &expandedRow);
  ret |= CreateAclTensor(noIds, {6}, ACL_INT32, &expandedExpert);
  ret |= CreateAclTensor(zeros, {3, 4}, ACL_FLOAT, &out);
  CHECK_RET(ret == 0, return ret);

  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  aclnnStatus first =
      aclnnMoeGatingTopKSoftmaxGetWorkspaceSize(x.tensor, nullptr, 2, y.tensor, expertIdx.tensor,
                                                rowIdx.tensor, &size, &executor);
  ret = Run("gating", first, size, executor, aclnnMoeGatingTopKSoftmax, stream);
  CHECK_RET(ret == 0, return ret);
  first = aclnnMoeInitRoutingGetWorkspaceSize(x.tensor, rowIdx.tensor, expertIdx.tensor, 3,
                                              expandedX.tensor, expandedRow.tensor,
                                              expandedExpert.tensor, &size, &executor);
  ret = Run("init", first, size, executor, aclnnMoeInitRouting, stream);
  CHECK_RET(ret == 0, return ret);
  first = aclnnMoeFinalizeRoutingV2GetWorkspaceSize(expandedX.tensor, expandedRow.tensor, nullptr,
                                                    nullptr, nullptr, y.tensor, nullptr, 0,
                                                    out.tensor, &size, &executor);
  ret = Run("finalize", first, size, executor, aclnnMoeFinalizeRoutingV2, stream);
  CHECK_RET(ret == 0, return ret);
  Print<int32_t>("experts", " %d", expertIdx);
  Print<int32_t>("rows", " %d", rowIdx);
  Print<int32_t>("sorted", " %d", expandedExpert);
  Print<int32_t>("places", " %d", expandedRow);
  Print<float>("gates", " %.3f", y);
  Print<float>("rows as floats", " %f", rowIdx);

  for (DeviceTensor* t :
       {&x, &y, &expertIdx, &rowIdx, &expandedX, &expandedRow, &expandedExpert, &out}) {
    aclDestroyTensor(t->tensor);
    aclrtFree(t->addr);
  }
  aclrtDestroyStream(stream);
  aclrtResetDevice(0);
  aclFinalize();
  return 0;
}
