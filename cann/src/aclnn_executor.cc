// SPDX-License-Identifier: Apache-2.0
// Executors of aclnn/acl_meta.h, and aclnn/aclnn_base.h.
#include "aclnn/aclnn_base.h"
#include "executor.h"

using namespace weft::cann;

namespace {

using Count = Executors::Count;

template <typename Body>
aclnnStatus executor_call(const char* function, Body&& body) {
  return guarded(function, ACLNN_ERR_INNER, ACLNN_ERR_INNER, std::forward<Body>(body));
}

Executors& executors() { return Executors::instance(); }

}  // namespace

aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor* executor) {
  return executor_call("aclSetAclOpExecutorRepeatable",
                       [&] { return executors().set_repeatable(executor); });
}

aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor) {
  return executor_call("aclDestroyAclOpExecutor", [&] { return executors().destroy(executor); });
}

// Two spellings of each: one body.
#define WEFT_SET_ADDRESS(prefix, which, count)                                                     \
  aclnnStatus prefix##Set##which##TensorAddr(aclOpExecutor* executor, const size_t index,          \
                                             aclTensor* tensor, void* addr) {                      \
    return executor_call(#prefix "Set" #which "TensorAddr", [&] {                                  \
      return executors().set_address(Count::count, executor, index, tensor, addr);                 \
    });                                                                                            \
  }                                                                                                \
  aclnnStatus prefix##SetDynamic##which##TensorAddr(aclOpExecutor* executor, size_t irIndex,       \
                                                    const size_t relativeIndex,                    \
                                                    aclTensorList* tensors, void* addr) {          \
    return executor_call(#prefix "SetDynamic" #which "TensorAddr", [&] {                           \
      return executors().set_list_address(Count::count, executor, irIndex, relativeIndex, tensors, \
                                          addr);                                                   \
    });                                                                                            \
  }
WEFT_SET_ADDRESS(acl, , kAll)
WEFT_SET_ADDRESS(acl, Input, kInputs)
WEFT_SET_ADDRESS(acl, Output, kOutputs)
WEFT_SET_ADDRESS(Acl, , kAll)
WEFT_SET_ADDRESS(Acl, Input, kInputs)
WEFT_SET_ADDRESS(Acl, Output, kOutputs)
#undef WEFT_SET_ADDRESS

aclnnStatus aclDumpOpTensors(const char*, const char*, aclTensor**, size_t, size_t, aclrtStream) {
  return ACLNN_SUCCESS;
}

aclnnStatus aclnnInit(const char*) { return ACLNN_SUCCESS; }
aclnnStatus aclnnFinalize() { return ACLNN_SUCCESS; }
