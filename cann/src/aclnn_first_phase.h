// SPDX-License-Identifier: Apache-2.0
// What the first phases of the operators share: looking operands up, and saying what is wrong.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "executor.h"
#include "ops/rules.h"
#include "tensor.h"

namespace weft::cann {

/// What is wrong with a call. CANN looks at the arguments alone (161001 for what is null, then
/// 161002) before its tiling looks at the rest (561002): the lowest code counts, and of several
/// with that code the first.
class Findings {
 public:
  template <typename... Args>
  void add(int code, fmt::format_string<Args...> format, Args&&... args) {
    if (any() && code_ <= code) return;
    code_ = code;
    message_ = fmt::format(format, std::forward<Args>(args)...);
  }
  /// What a contract finds, with the code of its rule; a rule that CANN lacks is about arguments.
  void add(const Status& contract, ops::CannEntry entry);
  template <typename... Args>
  void require(bool holds, int code, fmt::format_string<Args...> format, Args&&... args) {
    if (!holds) add(code, format, std::forward<Args>(args)...);
  }

  bool any() const { return code_ != ACLNN_SUCCESS; }
  /// Something is wrong with the arguments alone; what tiling would find no longer counts.
  bool final() const { return any() && code_ < ACLNN_ERR_INNER; }
  /// Notes it for aclGetRecentErrMsg.
  aclnnStatus report() const { return fail(code_, message_); }

 private:
  int code_ = ACLNN_SUCCESS;
  std::string message_;
};

/// What a handle stands for, or null and a finding.
std::shared_ptr<Tensor> look_up(Findings& findings, const char* name, const aclTensor* handle);
/// An operand of an operator whose rules are about one tensor at a time: not given if the handle is
/// null. Findings: as for to_tensor_ref, ACLNN_ERR_PARAM_INVALID.
TensorRef view_of(Findings& findings, const char* name, const aclTensor* handle);
/// Findings: also ACLNN_ERR_PARAM_NULLPTR.
TensorRef required(Findings& findings, const char* name, const aclTensor* handle);

/// Where a first phase leaves its results.
struct Results {
  uint64_t* workspace_size;
  aclOpExecutor** executor;
  void check(Findings& findings) const;
};

/// The contract holds, and yet there is no plan.
aclnnStatus no_plan(const Status& status);

/// End of a first phase with nothing to do: no workspace, and a second phase that submits nothing.
aclnnStatus finish_empty(const char* op, const Results& results);
/// End of a first phase.
aclnnStatus finish(const char* op, const Results& results, Launch launch);

// --- operators without communication; their executors can be made repeatable ---

Operand input(const aclTensor* handle);
Operand output(const aclTensor* handle);
aclnnStatus finish_repeatable(const char* op, const Results& results, std::vector<Operand> operands,
                              Launch launch);
/// For launches: an operand as it is now; not given if it was left out. `error` keeps the first.
TensorRef view_now(Error& error, const char* name, const Operand& operand);
/// Puts work into the stream, with the threads of the current device.
Error submit_local(Stream& stream, LocalWork work);

/// The body of the first phase of `op`.
template <typename Body>
aclnnStatus first_phase(const char* op, Body&& body, int no_memory = ACLNN_ERR_INNER) {
  return guarded(op, no_memory, ACLNN_ERR_INNER, [&] {
    const std::string function = fmt::format("{}GetWorkspaceSize", op);
    const Entry entry(function.c_str());
    return body();
  });
}

/// What a second phase returns when it fails.
enum class FailureCode {
  kOfCause,
  kInner,  ///< ACLNN_ERR_INNER whatever it is: CANN's operators that call others inside
};
aclnnStatus second_phase(const char* op, void* workspace, uint64_t workspace_size,
                         aclOpExecutor* executor, aclrtStream stream,
                         FailureCode code = FailureCode::kOfCause);

/// Defines the second phase of an operator; the argument that may follow is its FailureCode.
#define WEFT_SECOND_PHASE(op, ...)                                                 \
  aclnnStatus op(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor, \
                 const aclrtStream stream) {                                       \
    return weft::cann::second_phase(#op, workspace, workspaceSize, executor,       \
                                    stream __VA_OPT__(, ) __VA_ARGS__);            \
  }

}  // namespace weft::cann
