// SPDX-License-Identifier: Apache-2.0
// acl/acl.h and the helpers of acl/acl_base_rt.h.
#include "acl/acl.h"

#include <string>

#include "base/float16.h"
#include "runtime.h"

using namespace weft::cann;

aclError aclInit(const char* configPath) {
  return runtime_call("aclInit", [&] { return fail(Runtime::instance().init(configPath)); });
}

aclError aclFinalize() {
  return runtime_call("aclFinalize", [] { return fail(Runtime::instance().finalize()); });
}

aclError aclFinalizeReference(uint64_t* refCount) {
  return runtime_call("aclFinalizeReference",
                      [&] { return fail(Runtime::instance().finalize_reference(refCount)); });
}

const char* aclGetRecentErrMsg() {
  thread_local std::string text;
  try {
    text = take_messages();
  } catch (const std::bad_alloc&) {
    return "out of memory";
  }
  return text.empty() ? nullptr : text.c_str();
}

aclError aclrtGetVersion(int32_t* majorVersion, int32_t* minorVersion, int32_t* patchVersion) {
  return runtime_call("aclrtGetVersion", [&] {
    if (!majorVersion || !minorVersion || !patchVersion)
      return fail(ACL_ERROR_INVALID_PARAM, "a result pointer is null");
    *majorVersion = 1;
    *minorVersion = 0;
    *patchVersion = 0;
    return ACL_SUCCESS;
  });
}

const char* aclrtGetSocName() { return "Ascend910B3"; }

size_t aclDataTypeSize(aclDataType dataType) {
  switch (number_of(dataType)) {
    case ACL_INT8:
    case ACL_UINT8:
    case ACL_BOOL:
    case ACL_HIFLOAT8:
    case ACL_FLOAT8_E5M2:
    case ACL_FLOAT8_E4M3FN:
    case ACL_FLOAT8_E8M0:
      return 1;
    case ACL_FLOAT16:
    case ACL_BF16:
    case ACL_INT16:
    case ACL_UINT16:
      return 2;
    case ACL_FLOAT:
    case ACL_INT32:
    case ACL_UINT32:
    case ACL_COMPLEX32:
      return 4;
    case ACL_INT64:
    case ACL_UINT64:
    case ACL_DOUBLE:
    case ACL_COMPLEX64:
      return 8;
    case ACL_COMPLEX128:
      return 16;
    default:
      return 0;
  }
}

float aclFloat16ToFloat(aclFloat16 value) { return weft::fp16_to_f32(value); }

aclFloat16 aclFloatToFloat16(float value) { return weft::f32_to_fp16(value); }
