// SPDX-License-Identifier: Apache-2.0
// What the C++ examples share: checks, memory of a device, tensors in it, ranks as threads.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "acl/acl.h"
#include "aclnn/acl_meta.h"
#include "hccl/hccl.h"

namespace device {

/// All of CANN's functions return 0 when they went well.
inline void check(int code, const char* call) {
  if (code == 0) return;
  const char* message = aclGetRecentErrMsg();
  throw std::runtime_error(std::string(call) + " returned " + std::to_string(code) + "\n" +
                           (message ? message : ""));
}
#define CHECK(call) device::check(call, #call)

class Memory {
 public:
  explicit Memory(std::size_t bytes) {
    if (bytes > 0) CHECK(aclrtMalloc(&data_, bytes, ACL_MEM_MALLOC_HUGE_FIRST));
  }
  ~Memory() {
    if (data_) aclrtFree(data_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

/// A dense tensor with memory of its own, `elements` at least if it needs room for another layout.
template <typename T>
class Tensor {
 public:
  Tensor(const std::vector<std::int64_t>& shape, aclDataType type, const std::vector<T>& values,
         std::size_t elements = 0)
      : count_(count(shape)), memory_(std::max(count_, elements) * sizeof(T)) {
    if (!values.empty())
      CHECK(aclrtMemcpy(memory_.data(), count_ * sizeof(T), values.data(),
                        values.size() * sizeof(T), ACL_MEMCPY_HOST_TO_DEVICE));
    tensor_ = aclCreateTensor(shape.data(), shape.size(), type, nullptr, 0, ACL_FORMAT_ND,
                              shape.data(), shape.size(), memory_.data());
    if (!tensor_) throw std::runtime_error("aclCreateTensor returned NULL");
  }
  ~Tensor() { aclDestroyTensor(tensor_); }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  operator aclTensor*() const { return tensor_; }
  void* data() const { return memory_.data(); }

  std::vector<T> values() const {
    std::vector<T> host(count_);
    CHECK(aclrtMemcpy(host.data(), count_ * sizeof(T), memory_.data(), count_ * sizeof(T),
                      ACL_MEMCPY_DEVICE_TO_HOST));
    return host;
  }

 private:
  static std::size_t count(const std::vector<std::int64_t>& shape) {
    std::size_t product = 1;
    for (std::int64_t extent : shape) product *= static_cast<std::size_t>(extent);
    return product;
  }
  const std::size_t count_;
  const Memory memory_;
  aclTensor* tensor_ = nullptr;
};

/// Both phases of an operator, and the wait for its end.
///
///   run(stream, "aclnnAdd", [&](uint64_t* size, aclOpExecutor** executor) {
///     return aclnnAddGetWorkspaceSize(..., size, executor); }, aclnnAdd);
template <typename Prepare, typename Launch>
void run(aclrtStream stream, const char* name, Prepare prepare, Launch launch) {
  std::uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  check(prepare(&size, &executor), name);
  const Memory workspace(size);
  check(launch(workspace.data(), size, executor, stream), name);
  CHECK(aclrtSynchronizeStream(stream));
}

/// A thread for each device of one communicator. body(rank, comm, stream) runs with the device set.
/// True if none of them threw.
inline bool on_devices(int ranks, const std::function<void(int, HcclComm, aclrtStream)>& body) {
  std::vector<std::int32_t> ids;
  for (int id = 0; id < ranks; ++id) ids.push_back(id);
  std::vector<HcclComm> comms(ids.size());
  CHECK(HcclCommInitAll(static_cast<std::uint32_t>(ranks), ids.data(), comms.data()));

  std::vector<char> ok(ids.size(), 0);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      const std::size_t i = static_cast<std::size_t>(rank);
      try {
        aclrtStream stream = nullptr;
        CHECK(aclrtSetDevice(ids[i]));
        CHECK(aclrtCreateStream(&stream));
        body(rank, comms[i], stream);
        CHECK(aclrtDestroyStream(stream));
        CHECK(HcclCommDestroy(comms[i]));  // the others may still be at work
        CHECK(aclrtResetDevice(ids[i]));
        ok[i] = 1;
      } catch (const std::exception& error) {
        std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (char one : ok)
    if (!one) return false;
  return true;
}

/// The name under which operators find the communicator.
inline std::string name_of(HcclComm comm) {
  char name[COMM_NAME_MAX_LENGTH] = {};
  CHECK(HcclGetCommName(comm, name));
  return name;
}

}  // namespace device
