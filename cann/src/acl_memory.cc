// SPDX-License-Identifier: Apache-2.0
// Memory of acl/acl_rt.h. Device memory is memory of this process.
#include <fmt/core.h>

#include <cstring>

#include "acl/acl_rt.h"
#include "runtime.h"

using namespace weft::cann;

namespace {

Runtime& runtime() { return Runtime::instance(); }

Error null_pointer(const char* name) {
  return {ACL_ERROR_INVALID_PARAM, fmt::format("{} is null", name)};
}

aclError allocate(const char* function, MemoryTable& table, void** memory, size_t size) {
  return runtime_call(function, [&] {
    if (!memory) return fail(null_pointer("the result pointer"));
    if (size == 0) return fail(ACL_ERROR_INVALID_PARAM, "size is 0");
    return fail(table.allocate(size, memory));
  });
}

aclError allocate_on_device(const char* function, void** memory, size_t size,
                            aclrtMemMallocPolicy policy) {
  constexpr int kTypes = ACL_MEM_TYPE_LOW_BAND_WIDTH | ACL_MEM_TYPE_HIGH_BAND_WIDTH;
  const int pages = number_of(policy) & ~kTypes;
  if (pages < ACL_MEM_MALLOC_HUGE_FIRST || pages > ACL_MEM_MALLOC_HUGE1G_ONLY_P2P)
    return runtime_call(function, [&] {
      return fail(ACL_ERROR_RT_INVALID_MALLOC_TYPE,
                  fmt::format("there is no policy {}", number_of(policy)));
    });
  if (memory && size > 0 && !runtime().current())
    return runtime_call(function, [] { return fail(Runtime::no_context()); });
  return allocate(function, runtime().device_memory, memory, size);
}

aclError release(const char* function, MemoryTable& table, void* memory) {
  return runtime_call(
      function, [&] { return fail(memory ? table.release(memory) : null_pointer("the memory")); });
}

Error check_range(const char* name, const void* memory, size_t bytes) {
  if (!memory) return null_pointer(name);
  Error error = runtime().device_memory.check_range(name, memory, bytes);
  return error.ok() ? runtime().host_memory.check_range(name, memory, bytes) : error;
}

Error check_kind(aclrtMemcpyKind kind) {
  const int number = number_of(kind);
  if (number >= ACL_MEMCPY_HOST_TO_HOST && number <= ACL_MEMCPY_INTER_DEVICE_TO_DEVICE) return {};
  return {ACL_ERROR_RT_PARAM_INVALID, fmt::format("there is no aclrtMemcpyKind {}", number)};
}

struct Copy {
  void* dst;
  size_t dst_pitch;
  const void* src;
  size_t src_pitch, width, height;
};

Error check_copy(const Copy& c) {
  if (c.dst_pitch < c.width || c.src_pitch < c.width)
    return {ACL_ERROR_RT_PARAM_INVALID,
            fmt::format("rows of {} bytes are {} (dst) and {} (src) bytes apart", c.width,
                        c.dst_pitch, c.src_pitch)};
  size_t dst_bytes = 0, src_bytes = 0;
  if (__builtin_mul_overflow(c.height - 1, c.dst_pitch, &dst_bytes) ||
      __builtin_mul_overflow(c.height - 1, c.src_pitch, &src_bytes))
    return {ACL_ERROR_RT_PARAM_INVALID, "height x pitch is beyond all memory"};
  Error error = check_range("dst", c.dst, dst_bytes + c.width);
  return error.ok() ? check_range("src", c.src, src_bytes + c.width) : error;
}

void copy_rows(const Copy& c) {
  for (size_t row = 0; row < c.height; ++row)
    std::memmove(static_cast<char*>(c.dst) + row * c.dst_pitch,
                 static_cast<const char*>(c.src) + row * c.src_pitch, c.width);
}

/// One block is one row; nothing to copy is a success whatever the pointers are.
Error prepare(const Copy& c, size_t dst_max, aclrtMemcpyKind kind) {
  Error error = check_kind(kind);
  if (!error.ok()) return error;
  if (dst_max < c.width)
    return {ACL_ERROR_RT_PARAM_INVALID,
            fmt::format("destMax is {} but count is {}", dst_max, c.width)};
  return check_copy(c);
}

Error check_set(const void* memory, size_t most, size_t count) {
  if (most < count)
    return {ACL_ERROR_RT_PARAM_INVALID, fmt::format("maxCount is {} but count is {}", most, count)};
  return check_range("devPtr", memory, count);
}

template <typename Run>
Error submit(aclrtStream handle, Run&& run) {
  StreamRef stream;
  Error error = runtime().stream(handle, stream);
  if (!error.ok()) return error;
  return stream->stream.submit([run] {
    run();
    return Error();
  });
}

}  // namespace

aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
  return allocate_on_device("aclrtMalloc", devPtr, size, policy);
}

aclError aclrtMallocAlign32(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
  return allocate_on_device("aclrtMallocAlign32", devPtr, size, policy);
}

aclError aclrtMallocCached(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
  return allocate_on_device("aclrtMallocCached", devPtr, size, policy);
}

aclError aclrtFree(void* devPtr) { return release("aclrtFree", runtime().device_memory, devPtr); }

aclError aclrtMallocHost(void** hostPtr, size_t size) {
  return allocate("aclrtMallocHost", runtime().host_memory, hostPtr, size);
}

aclError aclrtFreeHost(void* hostPtr) {
  return release("aclrtFreeHost", runtime().host_memory, hostPtr);
}

aclError aclrtMemset(void* devPtr, size_t maxCount, int32_t value, size_t count) {
  return runtime_call("aclrtMemset", [&] {
    const Error error = check_set(devPtr, maxCount, count);
    if (error.ok()) std::memset(devPtr, value, count);
    return fail(error);
  });
}

aclError aclrtMemsetAsync(void* devPtr, size_t maxCount, int32_t value, size_t count,
                          aclrtStream stream) {
  return runtime_call("aclrtMemsetAsync", [&] {
    const Error error = check_set(devPtr, maxCount, count);
    if (!error.ok()) return fail(error);
    return fail(submit(stream, [=] { std::memset(devPtr, value, count); }));
  });
}

aclError aclrtMemcpy(void* dst, size_t destMax, const void* src, size_t count,
                     aclrtMemcpyKind kind) {
  return runtime_call("aclrtMemcpy", [&] {
    if (count == 0) return ACL_SUCCESS;
    const Copy copy = {dst, count, src, count, count, 1};
    const Error error = prepare(copy, destMax, kind);
    if (error.ok()) copy_rows(copy);
    return fail(error);
  });
}

aclError aclrtMemcpyAsync(void* dst, size_t destMax, const void* src, size_t count,
                          aclrtMemcpyKind kind, aclrtStream stream) {
  return runtime_call("aclrtMemcpyAsync", [&] {
    if (count == 0) return ACL_SUCCESS;
    const Copy copy = {dst, count, src, count, count, 1};
    const Error error = prepare(copy, destMax, kind);
    return fail(error.ok() ? submit(stream, [copy] { copy_rows(copy); }) : error);
  });
}

aclError aclrtMemcpy2d(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width,
                       size_t height, aclrtMemcpyKind kind) {
  return runtime_call("aclrtMemcpy2d", [&] {
    if (width == 0 || height == 0) return ACL_SUCCESS;
    const Copy copy = {dst, dpitch, src, spitch, width, height};
    const Error error = prepare(copy, width, kind);
    if (error.ok()) copy_rows(copy);
    return fail(error);
  });
}

aclError aclrtMemcpy2dAsync(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width,
                            size_t height, aclrtMemcpyKind kind, aclrtStream stream) {
  return runtime_call("aclrtMemcpy2dAsync", [&] {
    if (width == 0 || height == 0) return ACL_SUCCESS;
    const Copy copy = {dst, dpitch, src, spitch, width, height};
    const Error error = prepare(copy, width, kind);
    return fail(error.ok() ? submit(stream, [copy] { copy_rows(copy); }) : error);
  });
}
