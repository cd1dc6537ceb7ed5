// SPDX-License-Identifier: Apache-2.0
#include "aclnn_first_phase.h"

namespace weft::cann {

void Findings::add(const Status& contract, ops::CannEntry entry) {
  if (contract.ok()) return;
  const int code = ops::cann_code(static_cast<ops::Rule>(contract.rule()), entry);
  add(code != 0 ? code : ACLNN_ERR_PARAM_INVALID, "{}", contract.message());
}

std::shared_ptr<Tensor> look_up(Findings& findings, const char* name, const aclTensor* handle) {
  std::shared_ptr<Tensor> found = find_tensor(handle);
  findings.require(found != nullptr, ACLNN_ERR_PARAM_INVALID,
                   "{} was destroyed, or is no tensor; pass what aclCreateTensor returned", name);
  return found;
}

TensorRef view_of(Findings& findings, const char* name, const aclTensor* handle) {
  if (!handle) return {};
  const std::shared_ptr<Tensor> found = look_up(findings, name, handle);
  if (!found) return {};
  Result<TensorRef> view = to_tensor_ref(name, *found);
  if (view.ok()) return *view;
  findings.add(ACLNN_ERR_PARAM_INVALID, "{}", view.status().message());
  return {};
}

TensorRef required(Findings& findings, const char* name, const aclTensor* handle) {
  findings.require(handle, ACLNN_ERR_PARAM_NULLPTR, "{} is null", name);
  return view_of(findings, name, handle);
}

void Results::check(Findings& findings) const {
  findings.require(workspace_size, ACLNN_ERR_PARAM_NULLPTR, "workspaceSize is null");
  findings.require(executor, ACLNN_ERR_PARAM_NULLPTR, "executor is null");
}

aclnnStatus no_plan(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      return fail(ACLNN_ERR_INNER_TILING_ERROR, status.message());
    case StatusCode::kUnimplemented:
      return fail(ACLNN_ERR_INNER_FIND_KERNEL_ERROR, status.message());
    default:
      return fail(ACLNN_ERR_INNER, status.message());
  }
}

namespace {

Operand operand(Operand::Direction direction, const aclTensor* handle) {
  Operand made;
  made.direction = direction;
  if (const std::shared_ptr<Tensor> found = find_tensor(handle)) made.tensors.push_back(*found);
  return made;
}

aclnnStatus add(const char* op, const Results& results, std::unique_ptr<Executor> executor) {
  executor->op = op;
  return Executors::instance().add(std::move(executor), results.workspace_size, results.executor);
}

aclnnStatus add_work(const char* op, const Results& results, std::unique_ptr<Executor> executor,
                     Launch launch) {
  executor->workspace_size = kLeastWorkspace;
  executor->launch = std::move(launch);
  return add(op, results, std::move(executor));
}

}  // namespace

aclnnStatus finish_empty(const char* op, const Results& results) {
  return add(op, results, std::make_unique<Executor>());
}

aclnnStatus finish(const char* op, const Results& results, Launch launch) {
  return add_work(op, results, std::make_unique<Executor>(), std::move(launch));
}

Operand input(const aclTensor* handle) { return operand(Operand::Direction::kInput, handle); }
Operand output(const aclTensor* handle) { return operand(Operand::Direction::kOutput, handle); }

aclnnStatus finish_repeatable(const char* op, const Results& results, std::vector<Operand> operands,
                              Launch launch) {
  auto executor = std::make_unique<Executor>();
  executor->may_repeat = true;
  executor->operands = std::move(operands);
  return add_work(op, results, std::move(executor), std::move(launch));
}

TensorRef view_now(Error& error, const char* name, const Operand& operand) {
  if (!error.ok() || operand.tensors.empty()) return {};
  Result<TensorRef> view = to_tensor_ref(name, operand.tensors[0]);
  if (!view.ok())
    error = view.status();
  else if (!view->data() && !operand.tensors[0].empty())
    error = {ACL_ERROR_RT_PARAM_INVALID, fmt::format("{} has no memory (null pointer)", name)};
  return error.ok() ? *view : TensorRef();
}

Error submit_local(Stream& stream, LocalWork work) {
  const std::shared_ptr<DeviceContext> current = Runtime::instance().current();
  if (!current) return Runtime::no_context();
  // Devices are never removed.
  return stream.submit([&device = current->device, work = std::move(work)] {
    return Error(device.run_local(work));
  });
}

aclnnStatus second_phase(const char* op, void* workspace, uint64_t workspace_size,
                         aclOpExecutor* executor, aclrtStream stream, FailureCode code) {
  return guarded(op, ACLNN_ERR_INNER, ACLNN_ERR_INNER, [&] {
    Error error = Executors::instance().run(op, workspace, workspace_size, executor, stream);
    if (!error.ok() && code == FailureCode::kInner) error.code = ACLNN_ERR_INNER;
    return fail(error);
  });
}

}  // namespace weft::cann
