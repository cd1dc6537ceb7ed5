// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_routing/row_input.h"

#include <fmt/ranges.h>

#include "ops/dense.h"

namespace weft::ops {

bool rows_are_adjacent(const ConstTensorRef& t, int leading) {
  std::int64_t stride = 1;
  for (int i = t.rank() - 1; i >= leading; --i) {
    if (t.dim(i) != 1 && t.stride(i) != stride) return false;
    stride *= t.dim(i);
  }
  return true;
}

void check_addressable(Contract& c, std::span<const NamedTensor> tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (can_be_addressed(tensor)) continue;
    c.rule(Rule::kLimit, false, "{} is {} with strides ({}), more than can be addressed", name,
           shape_text(tensor), fmt::join(tensor.strides(), ", "));
    return;
  }
}

void check_output_rows(Contract& c, const NamedTensor& output, int leading) {
  const ConstTensorRef& t = output.tensor;
  if (!can_be_addressed(t)) return;  // said elsewhere
  c.rule(Rule::kStrides, is_empty(t) || rows_are_adjacent(t, leading),
         "{} has strides ({}), but the elements of a row must lie adjacent; make it contiguous",
         output.name, fmt::join(t.strides(), ", "));
  c.rule(Rule::kStrides, elements_are_apart(t),
         "{} has strides ({}) that put several of its rows at the same place; make it contiguous",
         output.name, fmt::join(t.strides(), ", "));
}

Result<RowInput> RowInput::plan(const ConstTensorRef& tensor, int leading, const char* name) {
  RowInput input;
  input.given_ = tensor.given();
  if (!tensor.given() || is_empty(tensor)) return input;
  if (rows_are_adjacent(tensor, leading)) {
    input.offsets_ = RowOffsets(tensor, leading);
    return input;
  }
  WEFT_ASSIGN_OR_RETURN(input.copy_,
                        Buffer::allocate(bytes_of(tensor.dtype(), tensor.elements()), name));
  input.offsets_ = RowOffsets(ConstTensorRef(nullptr, tensor.dtype(), tensor.dims()), leading);
  return input;
}

void RowInput::bind(const ConstTensorRef& now) {
  base_ = static_cast<const std::byte*>(now.data());
  if (!copy_.data()) return;
  copy_dense(now, copy_.data());
  base_ = copy_.data();
}

bool is_float(DType type) {
  return type == DType::kFloat16 || type == DType::kBFloat16 || type == DType::kFloat32;
}

}  // namespace weft::ops
