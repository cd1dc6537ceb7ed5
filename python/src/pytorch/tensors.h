// SPDX-License-Identifier: Apache-2.0
// PyTorch's tensors as views, its threads as a context, and a Status as its exception.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

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
/// Of a weight: uint8 stands for int4, two in a byte, the lower index in the low nibble, along the
/// one of the last two axes that has stride 1 (both: the last).
ConstTensorRef weight(const char* name, const at::Tensor& tensor);
/// The extent of a weight's last axis, counted in weights.
std::int64_t columns(const at::Tensor& weight);
/// The dtype of a result: that of x, or with int8 the one that its dequantisation scale asks for.
at::ScalarType result_dtype(const at::Tensor& x, const std::optional<at::Tensor>& dequant_scale);
/// x's axes, the last one `columns`.
std::vector<std::int64_t> product_shape(const at::Tensor& x, std::int64_t columns);

/// A view of (m, n) as (1, m, n); others as they are.
template <typename Ref>
Ref with_batch(const Ref& matrix) {
  if (matrix.rank() != 2) return matrix;
  const std::int64_t dims[] = {1, matrix.dim(0), matrix.dim(1)};
  const std::int64_t strides[] = {matrix.dim(0) * matrix.stride(0), matrix.stride(0),
                                  matrix.stride(1)};
  return {matrix.data(), matrix.dtype(), dims, strides};
}

/// Makes the call of an operator without ranks, with as many threads as PyTorch uses; raises its
/// error.
void run(const std::function<Status(Context&)>& call);
/// The key of a group that every process has: of itself alone, for products without ranks.
inline constexpr std::string_view kSelf = "weft.self";
/// The communicator of that key; raises ValueError if there is none.
std::shared_ptr<Communicator> communicator(std::string_view key);
/// Makes the call on that communicator; raises its error.
void run(std::string_view group, const Communicator::Call& call);

/// Raises the exception of a status that is not ok, or what a signal's handler has raised. Takes
/// the GIL if there is something to raise.
void raise_if_error(const Status& status);
/// Raises ValueError: "<name> <what>".
[[noreturn]] void refuse_operand(const char* name, const std::string& what);

// Tags of the operators: torch.compile passes operands on with the strides that they have. Forms
// that write to their operands return nothing and don't have the tag `out`: with it, inductor of
// PyTorch 2.13 turns calls of the others into those, and gives keyword-only attributes twice.
inline const std::vector<at::Tag> kTags = {at::Tag::pt2_compliant_tag,
                                           at::Tag::needs_exact_strides};

}  // namespace weft::python
