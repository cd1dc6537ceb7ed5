// SPDX-License-Identifier: Apache-2.0
// What stands before the kernels: gradients and autocast, once for all operators. Boxed, so that it
// sees their operands by the names of the schemas.
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <set>

#include "pytorch/tensors.h"

namespace weft::python {
namespace {

using c10::OperatorHandle;
using torch::jit::Stack;

template <typename Visit>  // visit(argument of the schema, its value)
void each_tensor(const OperatorHandle& op, Stack* stack, const Visit& visit) {
  const std::vector<c10::Argument>& arguments = op.schema().arguments();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    c10::IValue& value = torch::jit::peek(*stack, i, arguments.size());
    if (value.isTensor() && value.toTensor().defined()) visit(arguments[i], value);
  }
}

bool wants_gradient(const OperatorHandle& op, Stack* stack) {
  bool wants = false;
  if (c10::GradMode::is_enabled())
    each_tensor(op, stack, [&](const c10::Argument&, const c10::IValue& value) {
      wants = wants || value.toTensor().requires_grad();
    });
  return wants;
}

bool is_written(const c10::Argument& argument) {
  return argument.alias_info() && argument.alias_info()->isWrite();
}

// The Python part of an operator's gradient: weft/torch/autograd.py registers it under this
// namespace with the schema of the operator, so that calls without a gradient don't meet Python.
OperatorHandle gradient_of(const OperatorHandle& op) {
  const std::string& name = op.schema().name();
  return c10::Dispatcher::singleton().findSchemaOrThrow(
      ("weft_gradients" + name.substr(name.find("::"))).c_str(),
      op.schema().overload_name().c_str());
}

void autograd(const OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  const bool writes = op.schema().is_mutable();
  if (wants_gradient(op, stack)) {
    if (!writes) return gradient_of(op).callBoxed(stack);
    refuse_operand(
        op.schema().name().c_str(),
        "writes to its operands and so has no gradient, but one of them requires it. Call the "
        "form that returns its results, or this one under torch.no_grad().");
  }
  if (writes)
    each_tensor(op, stack, [](const c10::Argument& argument, const c10::IValue& value) {
      if (is_written(argument)) value.toTensor().unsafeGetTensorImpl()->bump_version();
    });
  const at::AutoDispatchBelowAutograd guard;
  op.redispatchBoxed(keys & c10::after_autograd_keyset, stack);
}

// Operands that share the dtype of the products; scales of quantised ones have their own.
bool is_cast(const c10::Argument& argument) {
  static const std::set<std::string, std::less<>> names = {"x1",
                                                           "x2",
                                                           "x3",
                                                           "bias",
                                                           "residual",
                                                           "gamma",
                                                           "antiquant_scale",
                                                           "x",
                                                           "weight1",
                                                           "weight2",
                                                           "bias1",
                                                           "bias2",
                                                           "antiquant_offset",
                                                           "antiquant_scale1",
                                                           "antiquant_scale2",
                                                           "antiquant_offset1",
                                                           "antiquant_offset2"};
  return names.count(argument.name()) > 0;
}

void cast(const OperatorHandle& op, Stack* stack, at::ScalarType dtype) {
  each_tensor(op, stack, [&](const c10::Argument& argument, c10::IValue& value) {
    if (is_cast(argument)) value = at::autocast::cached_cast(dtype, value.toTensor(), at::kCPU);
  });
  const c10::impl::ExcludeDispatchKeyGuard guard(c10::DispatchKey::AutocastCPU);
  op.callBoxed(stack);
}

// As torch.matmul: the products of floating point operands are computed in autocast's dtype.
void autocast_product(const OperatorHandle& op, Stack* stack) {
  bool floating = true;
  each_tensor(op, stack, [&](const c10::Argument& argument, const c10::IValue& value) {
    if (argument.name() == "x1" || argument.name() == "x")
      floating = value.toTensor().is_floating_point();
  });
  if (floating) return cast(op, stack, at::autocast::get_autocast_dtype(at::kCPU));
  const c10::impl::ExcludeDispatchKeyGuard guard(c10::DispatchKey::AutocastCPU);
  op.callBoxed(stack);
}

// As torch.add: the widest dtype of the operands.
void autocast_add(const OperatorHandle& op, Stack* stack) {
  at::ScalarType dtype = at::autocast::get_autocast_dtype(at::kCPU);
  each_tensor(op, stack, [&](const c10::Argument&, const c10::IValue& value) {
    if (value.toTensor().scalar_type() == at::kFloat) dtype = at::kFloat;
  });
  cast(op, stack, dtype);
}

}  // namespace

TORCH_LIBRARY_IMPL(weft, Autograd, library) {
  for (const char* name : {"add_rmsnorm",
                           "add_rmsnorm.out",
                           "all_gather",
                           "ffn",
                           "ffn.out",
                           "ffn.packed",
                           "matmul_allreduce",
                           "matmul_allreduce.out",
                           "matmul_allreduce.packed",
                           "matmul_allreduce_add_rmsnorm",
                           "matmul_allreduce_add_rmsnorm_",
                           "matmul_allreduce_add_rmsnorm.out",
                           "matmul_allreduce_add_rmsnorm.packed",
                           "matmul_reduce_scatter",
                           "matmul_reduce_scatter.out",
                           "matmul_reduce_scatter.packed",
                           "moe_combine",
                           "moe_combine_add_rmsnorm",
                           "moe_dispatch",
                           "moe_finalize_routing",
                           "moe_gating_topk_softmax",
                           "moe_init_routing",
                           "reduce_scatter"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&autograd>());
}

// Operators that write to operands are as they are under autocast, like out= and add_ of PyTorch.
TORCH_LIBRARY_IMPL(weft, AutocastCPU, library) {
  for (const char* name : {"ffn", "ffn.packed", "matmul_allreduce", "matmul_allreduce.packed",
                           "matmul_allreduce_add_rmsnorm", "matmul_allreduce_add_rmsnorm.packed",
                           "matmul_reduce_scatter", "matmul_reduce_scatter.packed"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&autocast_product>());
  library.impl("add_rmsnorm", torch::CppFunction::makeFromBoxedFunction<&autocast_add>());
}

}  // namespace weft::python
