// SPDX-License-Identifier: Apache-2.0
#include "executor.h"

#include <fmt/core.h>

#include <cstring>

namespace weft::cann {
namespace {

/// One executor is for one thread at a time; this finds out when it is not.
class Use {
 public:
  explicit Use(std::atomic<bool>& used)
      : used_(used), mine_(!used.exchange(true, std::memory_order_acquire)) {}
  ~Use() {
    if (mine_) used_.store(false, std::memory_order_release);  // partner: the exchange
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  bool mine() const { return mine_; }

 private:
  std::atomic<bool>& used_;
  const bool mine_;
};

Error no_executor() {
  return {ACLNN_ERR_INNER_NULLPTR,
          "executor is null, was used up by a second phase, or was destroyed"};
}

Error in_use() { return {ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR, "another thread uses the executor"}; }

bool counts(Executors::Count count, const Operand& operand) {
  if (count == Executors::Count::kAll) return true;
  return (operand.direction == Operand::Direction::kInput) == (count == Executors::Count::kInputs);
}

}  // namespace

Executors& Executors::instance() {
  static auto* const executors = new Executors;  // programs destroy theirs after main, too
  return *executors;
}

aclnnStatus Executors::add(std::unique_ptr<Executor> executor, uint64_t* workspace_size,
                           aclOpExecutor** handle) {
  if (!workspace_size) return fail(ACLNN_ERR_PARAM_NULLPTR, "workspaceSize is null");
  if (!handle) return fail(ACLNN_ERR_PARAM_NULLPTR, "executor is null");
  *workspace_size = executor->workspace_size;
  *handle = static_cast<aclOpExecutor*>(executors_.add(std::move(executor)));
  return ACLNN_SUCCESS;
}

Error Executors::run(const char* op, void* workspace, uint64_t workspace_size,
                     aclOpExecutor* handle, aclrtStream stream) {
  const std::shared_ptr<Executor> executor = executors_.find(handle);
  if (!executor) return no_executor();
  const Use use(executor->used_);
  if (!use.mine()) return in_use();
  if (std::strcmp(executor->op, op) != 0)
    return {ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR,
            fmt::format("the executor was made by {}GetWorkspaceSize", executor->op)};
  if (!executor->repeatable_ && !executors_.take(handle)) return no_executor();
  return launch(*executor, workspace, workspace_size, stream);
}

Error Executors::launch(Executor& executor, void* workspace, uint64_t workspace_size,
                        aclrtStream stream) {
  if (executor.workspace_size > 0) {
    if (!workspace)
      return {ACLNN_ERR_PARAM_NULLPTR,
              fmt::format("workspace is null, but the first phase asked for {} bytes",
                          executor.workspace_size)};
    if (workspace_size < executor.workspace_size)
      return {ACLNN_ERR_PARAM_INVALID,
              fmt::format("workspaceSize is {}, but the first phase asked for {}", workspace_size,
                          executor.workspace_size)};
  }
  StreamRef found;
  Error error = Runtime::instance().stream(stream, found);
  if (error.ok() && executor.launch) error = executor.launch(executor.operands, found->stream);
  if (!error.ok()) error.code = ACLNN_ERR_RUNTIME_ERROR;
  return error;
}

aclnnStatus Executors::set_repeatable(aclOpExecutor* handle) {
  const std::shared_ptr<Executor> executor = executors_.find(handle);
  if (!executor) return fail(no_executor());
  const Use use(executor->used_);
  if (!use.mine()) return fail(in_use());
  if (!executor->may_repeat)
    return fail(ACLNN_ERR_PARAM_INVALID,
                fmt::format("executors of {} can be used once only", executor->op));
  executor->repeatable_ = true;
  return ACLNN_SUCCESS;
}

aclnnStatus Executors::destroy(aclOpExecutor* handle) {
  return executors_.take(handle) ? ACLNN_SUCCESS : fail(no_executor());
}

Operand* Executors::find_operand(Executor& executor, Count count, std::size_t index) {
  if (!executor.repeatable_) {
    fail(ACLNN_ERR_PARAM_INVALID, "the executor is not repeatable");
    return nullptr;
  }
  std::size_t left = index;
  for (Operand& operand : executor.operands) {
    if (!counts(count, operand)) continue;
    if (left-- > 0) continue;
    if (!operand.tensors.empty()) return &operand;
    fail(ACLNN_ERR_PARAM_INVALID, fmt::format("operand {} was left out in the first phase", index));
    return nullptr;
  }
  fail(ACLNN_ERR_PARAM_INVALID, fmt::format("there is no operand {}", index));
  return nullptr;
}

aclnnStatus Executors::set_address(Count count, aclOpExecutor* handle, std::size_t index,
                                   aclTensor* tensor, void* address) {
  const std::shared_ptr<Executor> executor = executors_.find(handle);
  if (!executor) return fail(no_executor());
  const std::shared_ptr<Tensor> described = find_tensor(tensor);
  if (!described) return fail(ACLNN_ERR_INNER_NULLPTR, "tensor is null, or was destroyed");
  const Use use(executor->used_);
  if (!use.mine()) return fail(in_use());
  Operand* const operand = find_operand(*executor, count, index);
  if (!operand) return ACLNN_ERR_PARAM_INVALID;
  if (operand->is_list)
    return fail(ACLNN_ERR_PARAM_INVALID, fmt::format("operand {} is a list", index));
  described->data = operand->tensors[0].data = address;
  return ACLNN_SUCCESS;
}

aclnnStatus Executors::set_list_address(Count count, aclOpExecutor* handle, std::size_t index,
                                        std::size_t element, aclTensorList* list, void* address) {
  const std::shared_ptr<Executor> executor = executors_.find(handle);
  if (!executor) return fail(no_executor());
  const auto members = Descriptions::instance().tensor_lists.find(list);
  if (!members) return fail(ACLNN_ERR_INNER_NULLPTR, "the tensor list is null, or was destroyed");
  const Use use(executor->used_);
  if (!use.mine()) return fail(in_use());
  Operand* const operand = find_operand(*executor, count, index);
  if (!operand) return ACLNN_ERR_PARAM_INVALID;
  if (!operand->is_list || element >= operand->tensors.size() || element >= members->values.size())
    return fail(ACLNN_ERR_PARAM_INVALID,
                fmt::format("operand {} has no element {}", index, element));
  const std::shared_ptr<Tensor> described = find_tensor(members->values[element]);
  if (!described) return fail(ACLNN_ERR_INNER_NULLPTR, "the tensor was destroyed");
  described->data = operand->tensors[element].data = address;
  return ACLNN_SUCCESS;
}

}  // namespace weft::cann
