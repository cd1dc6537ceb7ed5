// SPDX-License-Identifier: Apache-2.0
// Start and end, devices, contexts, messages.
#include <cmath>
#include <fstream>
#include <limits>
#include <thread>

#include "../base/scoped_env.h"
#include "check.h"

namespace weft::cann {
namespace {

TEST(Init, IsCountedAndFinalizeClearsTheCount) {
  EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
  EXPECT_EQ(aclInit(nullptr), ACL_ERROR_REPEAT_INITIALIZE);
  EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
  EXPECT_EQ(aclFinalize(), ACL_ERROR_REPEAT_FINALIZE);
}

TEST(Init, ReferencesAreTakenBackOneByOne) {
  ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
  ASSERT_EQ(aclInit(nullptr), ACL_ERROR_REPEAT_INITIALIZE);
  uint64_t left = 7;
  EXPECT_EQ(aclFinalizeReference(&left), ACL_SUCCESS);
  EXPECT_EQ(left, 1u);
  EXPECT_EQ(aclFinalizeReference(nullptr), ACL_SUCCESS);
  EXPECT_EQ(aclFinalizeReference(&left), ACL_ERROR_REPEAT_FINALIZE);
}

struct ConfigCase {
  const char* content;
  int code;
};

TEST(Init, ReadsItsFile) {
  const std::string path = testing::TempDir() + "weft_cann_config.json";
  for (const ConfigCase& c : {ConfigCase{"{}", ACL_SUCCESS},
                              {"{\"err_msg_mode\": \"1\", \"dump\": {}}", ACL_SUCCESS},
                              {"{\"err_msg_mode\": \"2\"}", ACL_ERROR_FILE_ATTR_INVALID},
                              {"{\"err_msg_mode\": ", ACL_ERROR_PARSE_FILE},
                              {"[]", ACL_ERROR_PARSE_FILE},
                              {"", ACL_ERROR_PARSE_FILE}}) {
    std::ofstream(path) << c.content;
    EXPECT_EQ(aclInit(path.c_str()), c.code) << c.content;
    EXPECT_EQ(aclFinalize() == ACL_SUCCESS, c.code == ACL_SUCCESS) << c.content;
  }
  EXPECT_EQ(aclInit("/nowhere/config.json"), ACL_ERROR_INVALID_FILE);
}

struct DevicesCase {
  const char* devices;
  const char* visible;
  uint32_t count;  // 0: an error
};

TEST(Devices, AreCountedByTheEnvironment) {
  for (const DevicesCase& c : {DevicesCase{nullptr, nullptr, 16},
                               {"3", nullptr, 3},
                               {"1024", nullptr, 1024},
                               {"0", nullptr, 0},
                               {"x", nullptr, 0},
                               {nullptr, "0,1,5", 3},
                               {"4", "1,3,4", 2},
                               {"4", "2,1", 1},
                               {"4", "1,1,2", 1},
                               {"4", "0, 1", 1},
                               {"4", "0,1x,2", 1}}) {
    const ScopedEnv devices("WEFT_DEVICES", c.devices);
    const ScopedEnv visible("ASCEND_RT_VISIBLE_DEVICES", c.visible);
    uint32_t count = 0;
    const int code = aclInit(nullptr);
    if (c.count == 0) {
      EXPECT_EQ(code, ACL_ERROR_RT_PARAM_INVALID) << c.devices;
      EXPECT_EQ(aclrtGetDeviceCount(&count), ACL_ERROR_RT_PARAM_INVALID);
      continue;
    }
    EXPECT_EQ(code, ACL_SUCCESS);
    EXPECT_EQ(aclrtGetDeviceCount(&count), ACL_SUCCESS);
    EXPECT_EQ(count, c.count);
    EXPECT_EQ(aclrtSetDevice(static_cast<int>(count) - 1), ACL_SUCCESS);
    EXPECT_EQ(aclrtSetDevice(static_cast<int>(count)), ACL_ERROR_RT_INVALID_DEVICEID);
    EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
  }
}

class DeviceTest : public RuntimeTest {};

TEST_F(DeviceTest, SetAndResetCount) {
  int32_t id = -1;
  EXPECT_EQ(aclrtGetDevice(&id), ACL_ERROR_RT_CONTEXT_NULL);
  EXPECT_EQ(aclrtSetDevice(-1), ACL_ERROR_RT_INVALID_DEVICEID);
  EXPECT_EQ(aclrtResetDevice(2), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtSetDevice(2), ACL_SUCCESS);
  EXPECT_EQ(aclrtSetDevice(2), ACL_SUCCESS);
  EXPECT_EQ(aclrtGetDevice(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtGetDevice(&id), ACL_SUCCESS);
  EXPECT_EQ(id, 2);
  EXPECT_EQ(aclrtResetDevice(2), ACL_SUCCESS);
  EXPECT_EQ(aclrtGetDevice(&id), ACL_SUCCESS);
  EXPECT_EQ(aclrtResetDevice(2), ACL_SUCCESS);
  EXPECT_EQ(aclrtGetDevice(&id), ACL_ERROR_RT_CONTEXT_NULL);
  EXPECT_EQ(aclrtResetDevice(2), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtResetDevice(16), ACL_ERROR_RT_INVALID_DEVICEID);
}

TEST_F(DeviceTest, ForcedResetForgetsTheCount) {
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EXPECT_EQ(aclrtResetDeviceForce(0), ACL_SUCCESS);
  EXPECT_EQ(aclrtResetDeviceForce(0), ACL_ERROR_RT_PARAM_INVALID);
}

TEST_F(DeviceTest, ThreadsShareTheDefaultContextAndHaveNoneAtFirst) {
  ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
  aclrtContext mine = nullptr;
  ASSERT_EQ(aclrtGetCurrentContext(&mine), ACL_SUCCESS);
  std::thread([&] {
    aclrtContext theirs = nullptr;
    EXPECT_EQ(aclrtGetCurrentContext(&theirs), ACL_ERROR_RT_CONTEXT_NULL);
    EXPECT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    EXPECT_EQ(aclrtGetCurrentContext(&theirs), ACL_SUCCESS);
    EXPECT_EQ(theirs, mine);
  }).join();
  EXPECT_EQ(aclrtDestroyContext(mine), ACL_ERROR_RT_PARAM_INVALID);  // the default one
}

TEST_F(DeviceTest, ContextsAreDestroyedOnce) {
  aclrtContext context = nullptr;
  EXPECT_EQ(aclrtCreateContext(nullptr, 0), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtCreateContext(&context, 99), ACL_ERROR_RT_INVALID_DEVICEID);
  ASSERT_EQ(aclrtCreateContext(&context, 5), ACL_SUCCESS);
  int32_t id = -1;
  EXPECT_EQ(aclrtGetDevice(&id), ACL_SUCCESS);
  EXPECT_EQ(id, 5);
  EXPECT_EQ(aclrtSetCurrentContext(context), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyContext(context), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyContext(context), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtSetCurrentContext(context), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtSetCurrentContext(nullptr), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtDestroyContext(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtGetDevice(&id), ACL_ERROR_RT_CONTEXT_NULL);           // the current one is gone
  EXPECT_EQ(aclrtSetCurrentContext(&id), ACL_ERROR_RT_PARAM_INVALID);  // never was one
}

TEST_F(DeviceTest, DestroyedContextTakesItsStreams) {
  aclrtContext context = nullptr;
  ASSERT_EQ(aclrtCreateContext(&context, 0), ACL_SUCCESS);
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  bool ran = false;
  ASSERT_EQ(aclrtLaunchHostFunc(
                stream, [](void* flag) { *static_cast<bool*>(flag) = true; }, &ran),
            ACL_SUCCESS);
  ASSERT_EQ(aclrtDestroyContext(context), ACL_SUCCESS);
  EXPECT_TRUE(ran);  // it waits
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_ERROR_RT_INVALID_HANDLE);
}

TEST_F(DeviceTest, UseAfterResetIsAnError) {
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  ASSERT_EQ(aclrtResetDevice(0), ACL_SUCCESS);
  void* memory = nullptr;
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_ERROR_RT_CONTEXT_NULL);
  EXPECT_EQ(aclrtCreateStream(&stream), ACL_ERROR_RT_CONTEXT_NULL);
  EXPECT_EQ(aclrtMalloc(&memory, 8, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_CONTEXT_NULL);
  EXPECT_EQ(aclrtSynchronizeDevice(), ACL_ERROR_RT_CONTEXT_NULL);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_ERROR_RT_INVALID_HANDLE);
}

TEST_F(DeviceTest, Settings) {
  EXPECT_EQ(aclrtSetSysParamOpt(ACL_OPT_DETERMINISTIC, 1), ACL_ERROR_RT_CONTEXT_NULL);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  int64_t value = 0;
  EXPECT_EQ(aclrtGetSysParamOpt(ACL_OPT_DETERMINISTIC, &value), ACL_ERROR_RT_SYSPARAMOPT_NOT_SET);
  EXPECT_EQ(aclrtSetSysParamOpt(ACL_OPT_DETERMINISTIC, 1), ACL_SUCCESS);
  EXPECT_EQ(aclrtGetSysParamOpt(ACL_OPT_DETERMINISTIC, &value), ACL_SUCCESS);
  EXPECT_EQ(aclrtCtxSetSysParamOpt(ACL_OPT_STRONG_CONSISTENCY, 7), ACL_SUCCESS);
  EXPECT_EQ(aclrtCtxGetSysParamOpt(ACL_OPT_STRONG_CONSISTENCY, &value), ACL_SUCCESS);
  EXPECT_EQ(value, 7);
  EXPECT_EQ(aclrtGetSysParamOpt(ACL_OPT_DETERMINISTIC, &value), ACL_SUCCESS);
  EXPECT_EQ(value, 1);
  EXPECT_EQ(aclrtGetSysParamOpt(ACL_OPT_DETERMINISTIC, nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtSetDeviceSatMode(ACL_RT_OVERFLOW_MODE_INFNAN), ACL_SUCCESS);
  EXPECT_EQ(aclrtSetDeviceSatMode(ACL_RT_OVERFLOW_MODE_SATURATION),
            ACL_ERROR_RT_FEATURE_NOT_SUPPORT);
  aclrtFloatOverflowMode mode = ACL_RT_OVERFLOW_MODE_UNDEF;
  EXPECT_EQ(aclrtGetDeviceSatMode(&mode), ACL_SUCCESS);
  EXPECT_EQ(mode, ACL_RT_OVERFLOW_MODE_INFNAN);
  EXPECT_EQ(aclrtGetDeviceSatMode(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtSetOpWaitTimeout(1), ACL_SUCCESS);
  EXPECT_EQ(aclrtSetOpWaitTimeout(UINT32_MAX), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtSetOpExecuteTimeOut(1), ACL_ERROR_RT_FEATURE_NOT_SUPPORT);
  aclrtRunMode run_mode = ACL_DEVICE;
  EXPECT_EQ(aclrtGetRunMode(&run_mode), ACL_SUCCESS);
  EXPECT_EQ(run_mode, ACL_HOST);
  EXPECT_EQ(aclrtGetRunMode(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtGetDeviceCount(nullptr), ACL_ERROR_INVALID_PARAM);
  int32_t major = 0, minor = 0, patch = 0;
  EXPECT_EQ(aclrtGetVersion(&major, &minor, &patch), ACL_SUCCESS);
  EXPECT_EQ(major, 1);
  EXPECT_EQ(aclrtGetVersion(&major, nullptr, &patch), ACL_ERROR_INVALID_PARAM);
  EXPECT_STREQ(aclrtGetSocName(), "Ascend910B3");
  size_t free_bytes = 0, total = 0;
  EXPECT_EQ(aclrtGetMemInfo(ACL_HBM_MEM, &free_bytes, &total), ACL_SUCCESS);
  EXPECT_GT(total, 0u);
  EXPECT_LE(free_bytes, total);
  EXPECT_EQ(aclrtGetMemInfo(ACL_HBM_MEM, nullptr, &total), ACL_ERROR_INVALID_PARAM);
}

TEST_F(DeviceTest, MessagesAreTheThreadsNewestFirst) {
  EXPECT_EQ(aclrtSetDevice(77), ACL_ERROR_RT_INVALID_DEVICEID);
  EXPECT_EQ(aclrtFree(nullptr), ACL_ERROR_INVALID_PARAM);
  std::thread([] { EXPECT_EQ(aclGetRecentErrMsg(), nullptr); }).join();
  const std::string messages = text();
  EXPECT_LT(messages.find("aclrtFree: error 100000"),
            messages.find("aclrtSetDevice: error 107001: there is no device 77"));
  EXPECT_EQ(aclGetRecentErrMsg(), nullptr);
  EXPECT_EQ(aclrtPeekAtLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtGetLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtGetLastError(ACL_RT_THREAD_LEVEL), ACL_SUCCESS);
}

TEST(Messages, CanBeTheProcesss) {
  const std::string path = testing::TempDir() + "weft_cann_process_messages.json";
  std::ofstream(path) << R"({"err_msg_mode": "1"})";
  ASSERT_EQ(aclInit(path.c_str()), ACL_SUCCESS);
  std::thread([] { EXPECT_EQ(aclrtSetDevice(99), ACL_ERROR_RT_INVALID_DEVICEID); }).join();
  const char* message = aclGetRecentErrMsg();
  ASSERT_NE(message, nullptr);
  EXPECT_NE(std::string(message).find("device 99"), std::string::npos);
  EXPECT_EQ(aclGetRecentErrMsg(), nullptr);
  EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
}

TEST(Helpers, SizesAndHalfPrecision) {
  EXPECT_EQ(aclDataTypeSize(ACL_FLOAT16), 2u);
  EXPECT_EQ(aclDataTypeSize(ACL_BOOL), 1u);
  EXPECT_EQ(aclDataTypeSize(ACL_COMPLEX128), 16u);
  EXPECT_EQ(aclDataTypeSize(ACL_INT4), 0u);
  EXPECT_EQ(aclDataTypeSize(ACL_DT_UNDEFINED), 0u);
  EXPECT_EQ(aclFloat16ToFloat(0x3c01), 1.0009765625f);
  EXPECT_EQ(aclFloat16ToFloat(0x0001), 0x1p-24f);
  EXPECT_TRUE(std::isinf(aclFloat16ToFloat(0x7c00)));
  EXPECT_TRUE(std::isnan(aclFloat16ToFloat(0x7e00)));
  EXPECT_EQ(aclFloatToFloat16(65504.0f), 0x7bff);
  EXPECT_EQ(aclFloatToFloat16(std::numeric_limits<float>::infinity()), 0x7c00);
  for (unsigned bits = 0; bits < 0x7c00; ++bits)
    ASSERT_EQ(aclFloatToFloat16(aclFloat16ToFloat(static_cast<aclFloat16>(bits))), bits);
}

}  // namespace
}  // namespace weft::cann
