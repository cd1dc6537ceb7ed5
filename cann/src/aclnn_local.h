// SPDX-License-Identifier: Apache-2.0
// One call of an operator without ranks that is generated from its definition: inputs, attributes,
// outputs, with the codes of CannEntry::kMoe. `Args` is the operator's argument struct.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "aclnn_first_phase.h"
#include "ops/contract.h"
#include "ops/rules.h"

namespace weft::cann {

template <typename Args>
struct LocalOperand {
  const char* name = nullptr;
  const aclTensor* handle = nullptr;
  bool required = false;
  ConstTensorRef Args::*input = nullptr;
  TensorRef Args::*output = nullptr;

  void set(Args& args, const TensorRef& tensor) const {
    if (input)
      args.*input = tensor;
    else
      args.*output = tensor;
  }
  ConstTensorRef get(const Args& args) const { return input ? args.*input : args.*output; }
};

template <typename Args>
LocalOperand<Args> needs(const char* name, const aclTensor* handle, ConstTensorRef Args::*input) {
  return {name, handle, true, input, nullptr};
}
template <typename Args>
LocalOperand<Args> takes(const char* name, const aclTensor* handle, ConstTensorRef Args::*input) {
  return {name, handle, false, input, nullptr};
}
template <typename Args>
LocalOperand<Args> gives(const char* name, const aclTensor* handle, TensorRef Args::*output) {
  return {name, handle, true, nullptr, output};
}

/// In the order of Args or not; those behind the last have no name.
template <typename Args>
using LocalOperands = std::array<LocalOperand<Args>, 8>;

template <typename Args>
struct LocalCall {
  const char* op;
  LocalOperands<Args> operands;
  Args attributes;  ///< no tensors
  Results results;
  /// The operator's contract.
  Status (*check_plan)(const Args&);
  Status (*check_run)(const Args&, const Args&);
  /// What CANN alone refuses of a call that keeps the operator's contract.
  std::function<void(Findings&, const Args&)> check;
  /// Tokens of a call; a call without has nothing to do, plans of few are kept.
  std::int64_t (*tokens)(const Args&);
  Status (*run)(Context&, PlanPool&, const Args&);

  std::span<const LocalOperand<Args>> used() const {
    const auto end = std::ranges::find_if(
        operands, [](const LocalOperand<Args>& operand) { return operand.name == nullptr; });
    return {operands.begin(), end};
  }
};

template <typename Args>
Error launch_local(const LocalCall<Args>& call, const std::vector<Operand>& now, Stream& stream) {
  Error error;
  Args args = call.attributes;
  for (std::size_t i = 0; i < now.size(); ++i)
    call.operands[i].set(args, view_now(error, call.operands[i].name, now[i]));
  if (!error.ok()) return error;
  if (const Status status = call.check_run(args, args); !status.ok()) return status;
  return submit_local(stream, [args, run = call.run](Context& context, PlanPool& plans) {
    return run(context, plans, args);
  });
}

template <typename Args>
aclnnStatus prepare_local(LocalCall<Args> call) {
  constexpr ops::CannEntry kEntry = ops::CannEntry::kMoe;
  Findings findings;
  call.results.check(findings);
  Args args = call.attributes;
  for (const LocalOperand<Args>& operand : call.used())
    operand.set(args, operand.required ? required(findings, operand.name, operand.handle)
                                       : view_of(findings, operand.name, operand.handle));
  if (!findings.any()) findings.add(call.check_plan(args), kEntry);
  if (!findings.any()) call.check(findings, args);
  if (findings.any()) return findings.report();
  if (call.tokens(args) == 0) return finish_empty(call.op, call.results);
  // Memory that is not there yet can still be set.
  const bool complete = std::ranges::all_of(call.used(), [&](const LocalOperand<Args>& operand) {
    const ConstTensorRef tensor = operand.get(args);
    return !tensor.given() || tensor.data() || ops::is_empty(tensor);
  });
  if (complete) findings.add(call.check_run(args, args), kEntry);
  if (findings.any()) return findings.report();
  std::vector<Operand> operands;
  for (const LocalOperand<Args>& operand : call.used())
    operands.push_back(operand.input ? input(operand.handle) : output(operand.handle));
  const char* const op = call.op;
  const Results results = call.results;
  return finish_repeatable(
      op, results, std::move(operands),
      [call = std::move(call)](const std::vector<Operand>& now, Stream& stream) {
        return launch_local(call, now, stream);
      });
}

template <typename Args>
aclnnStatus local_first_phase(LocalCall<Args> call) {
  const char* const op = call.op;
  return first_phase(op, [&] { return prepare_local(std::move(call)); });
}

}  // namespace weft::cann
