// SPDX-License-Identifier: Apache-2.0
// PyTorch's tensors as views, its threads as a context, and a Status as its exception.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string_view>

#include "runtime/communicator.h"
#include "runtime/context.h"
#include "weft/tensor.h"

namespace weft::python {

/// nullopt for types that weft does not have.
std::optional<DType> dtype_of(at::ScalarType type);

/// The view of a CPU tensor, or one that stands for "not given". Raises ValueError naming the
/// operand for other devices, sparse tensors and dtypes that no operator knows.
ConstTensorRef input(const char* name, const at::Tensor& tensor);
ConstTensorRef input(const char* name, const std::optional<at::Tensor>& tensor);
TensorRef output(const at::Tensor& tensor);

/// The context of operators without ranks: as many threads as PyTorch uses.
std::shared_ptr<SharedContext> torch_context();
/// The communicator of that key; raises ValueError if there is none.
std::shared_ptr<Communicator> communicator(std::string_view key);

/// Raises the exception of a status that is not ok, or what a signal's handler has raised. Takes
/// the GIL if there is something to raise.
void raise_if_error(const Status& status);

}  // namespace weft::python
