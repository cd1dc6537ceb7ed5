// SPDX-License-Identifier: Apache-2.0
// What the first phase of an operator hands to the second.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "aclnn/acl_meta.h"
#include "runtime.h"
#include "tensor.h"

namespace weft::cann {

/// One operand in the order of the first phase: a tensor, a list of them, or nothing.
struct Operand {
  enum class Direction { kInput, kOutput };
  Direction direction = Direction::kInput;
  bool is_list = false;
  std::vector<Tensor> tensors;  // copies; empty: the operand was left out (or the list is empty)
};

/// The second phase of one call: submits a task made from the operands as they are now. What the
/// task needs it must own, because the executor may be gone when it runs.
using Launch = std::function<Error(const std::vector<Operand>&, Stream&)>;

class Executor {
 public:
  const char* op = "";               ///< "aclnnMatmulAllReduce": its second phase
  std::uint64_t workspace_size = 0;  ///< bytes that the second phase asks for
  bool may_repeat = false;
  std::vector<Operand> operands;
  Launch launch;  ///< empty: there is nothing to do

 private:
  friend class Executors;
  bool repeatable_ = false;
  std::atomic<bool> used_{false};  // by a second phase, or an address being set
};

/// The executors that exist.
class Executors {
 public:
  static Executors& instance();

  /// End of a first phase: fills in both results. Errors: ACLNN_ERR_PARAM_NULLPTR.
  aclnnStatus add(std::unique_ptr<Executor> executor, uint64_t* workspace_size,
                  aclOpExecutor** handle);
  /// A second phase: puts the task into the stream. The executor is used up unless it is
  /// repeatable, also on failure. Notes nothing. Errors: ACLNN_ERR_INNER_NULLPTR (no such
  /// executor), ACLNN_ERR_PARAM_NULLPTR (workspace null though one is needed),
  /// ACLNN_ERR_PARAM_INVALID (workspace too small), ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR (made by
  /// another operator, or in use by another thread), ACLNN_ERR_RUNTIME_ERROR (stream).
  Error run(const char* op, void* workspace, uint64_t workspace_size, aclOpExecutor* handle,
            aclrtStream stream);

  aclnnStatus set_repeatable(aclOpExecutor* handle);
  aclnnStatus destroy(aclOpExecutor* handle);
  /// Which operands an index counts.
  enum class Count { kAll, kInputs, kOutputs };
  aclnnStatus set_address(Count count, aclOpExecutor* handle, std::size_t index, aclTensor* tensor,
                          void* address);
  aclnnStatus set_list_address(Count count, aclOpExecutor* handle, std::size_t index,
                               std::size_t element, aclTensorList* list, void* address);
  std::size_t size() const { return executors_.size(); }

 private:
  Error launch(Executor& executor, void* workspace, uint64_t workspace_size, aclrtStream stream);
  /// The operand and no error, or null and a noted one.
  Operand* find_operand(Executor& executor, Count count, std::size_t index);

  HandleTable<Executor> executors_;
};

/// What an operator may ask for as workspace when weft's plan owns its scratch memory: programs
/// take 0 for "nothing to do".
inline constexpr std::uint64_t kLeastWorkspace = 32;

}  // namespace weft::cann
