// SPDX-License-Identifier: Apache-2.0
// Devices and contexts of acl/acl_rt.h.
#include <fmt/core.h>

#include <cstdio>
#include <fstream>
#include <limits>
#include <string>

#include "acl/acl_rt.h"
#include "base/topology.h"
#include "runtime.h"

using namespace weft::cann;

namespace {

Runtime& runtime() { return Runtime::instance(); }

template <typename Body>
aclError with_context(const char* function, Body&& body) {
  return runtime_call(function, [&] {
    const std::shared_ptr<DeviceContext> context = runtime().current();
    return context ? body(*context) : fail(Runtime::no_context());
  });
}

int null_result(const char* name) {
  return fail(ACL_ERROR_INVALID_PARAM, fmt::format("{} is null", name));
}

/// What the kernel could give to new programs without swapping; the total if it does not say.
std::int64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string line;
  long long kib = 0;
  while (std::getline(file, line))
    if (std::sscanf(line.c_str(), "MemAvailable: %lld", &kib) == 1) return kib * 1024;
  return std::numeric_limits<std::int64_t>::max();
}

int check_parameter(aclSysParamOpt opt) {
  const int number = number_of(opt);
  if (number >= ACL_OPT_DETERMINISTIC && number <= ACL_OPT_KERNEL_EARLY_START) return ACL_SUCCESS;
  return fail(ACL_ERROR_RT_PARAM_INVALID, fmt::format("there is no aclSysParamOpt {}", number));
}

aclError set_parameter(const char* function, aclSysParamOpt opt, int64_t value) {
  return with_context(function, [&](DeviceContext& context) {
    const int code = check_parameter(opt);
    if (code != ACL_SUCCESS) return code;
    const std::lock_guard lock(context.mutex);
    context.parameters[number_of(opt)] = value;
    return ACL_SUCCESS;
  });
}

aclError get_parameter(const char* function, aclSysParamOpt opt, int64_t* value) {
  return with_context(function, [&](DeviceContext& context) {
    if (!value) return null_result("value");
    const int code = check_parameter(opt);
    if (code != ACL_SUCCESS) return code;
    const std::lock_guard lock(context.mutex);
    const auto found = context.parameters.find(number_of(opt));
    if (found == context.parameters.end())
      return fail(ACL_ERROR_RT_SYSPARAMOPT_NOT_SET,
                  fmt::format("aclSysParamOpt {} was not set in this context", number_of(opt)));
    *value = found->second;
    return ACL_SUCCESS;
  });
}

}  // namespace

aclError aclrtSetDevice(int32_t deviceId) {
  return runtime_call("aclrtSetDevice", [&] { return fail(runtime().set_device(deviceId)); });
}

aclError aclrtResetDevice(int32_t deviceId) {
  return runtime_call("aclrtResetDevice",
                      [&] { return fail(runtime().reset_device(deviceId, false)); });
}

aclError aclrtResetDeviceForce(int32_t deviceId) {
  return runtime_call("aclrtResetDeviceForce",
                      [&] { return fail(runtime().reset_device(deviceId, true)); });
}

aclError aclrtGetDevice(int32_t* deviceId) {
  return with_context("aclrtGetDevice", [&](DeviceContext& context) {
    if (!deviceId) return null_result("deviceId");
    *deviceId = context.device.id;
    return ACL_SUCCESS;
  });
}

aclError aclrtGetDeviceCount(uint32_t* count) {
  return runtime_call("aclrtGetDeviceCount", [&] {
    if (!count) return null_result("count");
    const weft::Result<int> devices = runtime().device_count();
    if (!devices.ok()) return fail(ACL_ERROR_RT_PARAM_INVALID, devices.status().message());
    *count = static_cast<uint32_t>(*devices);
    return ACL_SUCCESS;
  });
}

aclError aclrtGetRunMode(aclrtRunMode* runMode) {
  return runtime_call("aclrtGetRunMode", [&] {
    if (!runMode) return null_result("runMode");
    *runMode = ACL_HOST;
    return ACL_SUCCESS;
  });
}

aclError aclrtSynchronizeDevice() {
  return runtime_call("aclrtSynchronizeDevice",
                      [] { return fail(runtime().synchronise_device(kForever)); });
}

aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout) {
  return runtime_call("aclrtSynchronizeDeviceWithTimeout", [&] {
    if (timeout < kForever)
      return fail(ACL_ERROR_RT_PARAM_INVALID, fmt::format("timeout is {}", timeout));
    return fail(runtime().synchronise_device(timeout));
  });
}

aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode) {
  return with_context("aclrtSetDeviceSatMode", [&](DeviceContext&) {
    const int number = number_of(mode);
    if (number == ACL_RT_OVERFLOW_MODE_INFNAN) return ACL_SUCCESS;
    if (number == ACL_RT_OVERFLOW_MODE_SATURATION || number == ACL_RT_OVERFLOW_MODE_UNDEF)
      return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                  "overflow gives infinity on a CPU (ACL_RT_OVERFLOW_MODE_INFNAN)");
    return fail(ACL_ERROR_RT_PARAM_INVALID, fmt::format("there is no mode {}", number));
  });
}

aclError aclrtGetDeviceSatMode(aclrtFloatOverflowMode* mode) {
  return with_context("aclrtGetDeviceSatMode", [&](DeviceContext&) {
    if (!mode) return null_result("mode");
    *mode = ACL_RT_OVERFLOW_MODE_INFNAN;
    return ACL_SUCCESS;
  });
}

aclError aclrtSetOpWaitTimeout(uint32_t timeout) {
  return runtime_call("aclrtSetOpWaitTimeout", [&] {
    constexpr uint32_t kMost = std::numeric_limits<int>::max() / 1000;  // in milliseconds an int
    if (timeout > kMost)
      return fail(ACL_ERROR_RT_PARAM_INVALID, fmt::format("{} s; at most {}", timeout, kMost));
    runtime().event_wait_timeout_s = timeout;
    return ACL_SUCCESS;
  });
}

aclError aclrtSetOpExecuteTimeOut(uint32_t) {
  return runtime_call("aclrtSetOpExecuteTimeOut", [] {
    return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                "a running operator cannot be interrupted; waits for peers end by "
                "HCCL_EXEC_TIMEOUT");
  });
}

aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value) {
  return set_parameter("aclrtCtxSetSysParamOpt", opt, value);
}

aclError aclrtCtxGetSysParamOpt(aclSysParamOpt opt, int64_t* value) {
  return get_parameter("aclrtCtxGetSysParamOpt", opt, value);
}

aclError aclrtSetSysParamOpt(aclSysParamOpt opt, int64_t value) {
  return set_parameter("aclrtSetSysParamOpt", opt, value);
}

aclError aclrtGetSysParamOpt(aclSysParamOpt opt, int64_t* value) {
  return get_parameter("aclrtGetSysParamOpt", opt, value);
}

aclError aclrtPeekAtLastError(aclrtLastErrLevel level) {
  if (number_of(level) != ACL_RT_THREAD_LEVEL) return ACL_ERROR_RT_PARAM_INVALID;
  return last_error();
}

aclError aclrtGetLastError(aclrtLastErrLevel level) {
  if (number_of(level) != ACL_RT_THREAD_LEVEL) return ACL_ERROR_RT_PARAM_INVALID;
  const int code = last_error();
  set_last_error(ACL_SUCCESS);
  return code;
}

aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t* freeSize, size_t* total) {
  return runtime_call("aclrtGetMemInfo", [&] {
    if (!freeSize || !total) return null_result("a result pointer");
    const int number = number_of(attr);
    if (number < ACL_DDR_MEM || number > ACL_HBM_MEM_P2P_NORMAL)
      return fail(ACL_ERROR_RT_PARAM_INVALID, fmt::format("there is no aclrtMemAttr {}", number));
    const std::int64_t all = weft::topology().memory_bytes;
    *total = static_cast<size_t>(all);
    *freeSize = static_cast<size_t>(std::min(all, available_bytes()));
    return ACL_SUCCESS;
  });
}

aclError aclrtCreateContext(aclrtContext* context, int32_t deviceId) {
  return runtime_call("aclrtCreateContext", [&] {
    if (!context) return null_result("context");
    return fail(runtime().create_context(deviceId, context));
  });
}

aclError aclrtDestroyContext(aclrtContext context) {
  return runtime_call("aclrtDestroyContext", [&] {
    if (!context) return null_result("context");
    return fail(runtime().destroy_context(context));
  });
}

aclError aclrtSetCurrentContext(aclrtContext context) {
  return runtime_call("aclrtSetCurrentContext",
                      [&] { return fail(runtime().set_current(context)); });
}

aclError aclrtGetCurrentContext(aclrtContext* context) {
  return with_context("aclrtGetCurrentContext", [&](DeviceContext&) {
    if (!context) return null_result("context");
    *context = runtime().current_handle();
    return ACL_SUCCESS;
  });
}

aclError aclrtCtxGetCurrentDefaultStream(aclrtStream* stream) {
  return with_context("aclrtCtxGetCurrentDefaultStream", [&](DeviceContext& context) {
    if (!stream) return null_result("stream");
    *stream = context.default_stream;
    return ACL_SUCCESS;
  });
}
