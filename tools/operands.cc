// SPDX-License-Identifier: Apache-2.0
#include "operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace weft::tools {

std::string_view to_string(OperandId id) {
  constexpr std::string_view kNames[] = {
      "x1",       "x2",   "bias", "dequant_scale", "antiquant_scale", "antiquant_offset",
      "residual", "gamma"};
  static_assert(std::size(kNames) == kOperands);
  return kNames[static_cast<int>(id)];
}

namespace {

std::int64_t bytes_of_tensor(const ConstTensorRef& tensor) {
  return bytes_of(tensor.dtype(), tensor.elements());
}

// Empty tensors keep a page: their views need no special case anywhere.
Result<Buffer> allocate(std::int64_t bytes, std::string_view name) {
  return Buffer::allocate(std::max<std::int64_t>(bytes, 1), std::string(name).c_str());
}

}  // namespace

Result<Operand> Operands::make(OperandId id, DType dtype, std::vector<std::int64_t> dims) {
  Operand operand;
  operand.tensor = ConstTensorRef(nullptr, dtype, dims);
  WEFT_ASSIGN_OR_RETURN(operand.memory, allocate(bytes_of_tensor(operand.tensor), to_string(id)));
  operand.tensor = operand.tensor.with_data(operand.memory.data());
  return operand;
}

Status Operands::make_outputs(bool in_place) {
  const Operand& residual = (*this)[OperandId::kResidual];
  const ConstTensorRef& like = residual.tensor;
  const std::int64_t bytes = bytes_of_tensor(like);
  WEFT_ASSIGN_OR_RETURN(norm_memory_, allocate(bytes, "norm_out"));
  norm_out_ = TensorRef(norm_memory_.data(), like.dtype(), like.dims());
  if (in_place) {
    WEFT_ASSIGN_OR_RETURN(saved_residual_, allocate(bytes, "a copy of residual"));
    std::memcpy(saved_residual_.data(), residual.memory.data(), static_cast<std::size_t>(bytes));
    y_ = TensorRef(residual.memory.data(), like.dtype(), like.dims());
  } else {
    WEFT_ASSIGN_OR_RETURN(y_memory_, allocate(bytes, "y"));
    y_ = TensorRef(y_memory_.data(), like.dtype(), like.dims());
  }
  return {};
}

void Operands::restore() {
  if (saved_residual_.data() == nullptr) return;
  std::memcpy(y_.data(), saved_residual_.data(),
              static_cast<std::size_t>(bytes_of_tensor(ConstTensorRef(y_))));
}

MatmulAllReduceAddRmsNormArgs Operands::args() const {
  const auto tensor = [this](OperandId id) { return (*this)[id].tensor; };
  MatmulAllReduceAddRmsNormArgs args;
  args.x1 = tensor(OperandId::kX1);
  args.x2 = tensor(OperandId::kX2);
  args.bias = tensor(OperandId::kBias);
  args.dequant_scale = tensor(OperandId::kDequantScale);
  args.antiquant_scale = tensor(OperandId::kAntiquantScale);
  args.antiquant_offset = tensor(OperandId::kAntiquantOffset);
  args.antiquant_group_size = group_size;
  args.residual = tensor(OperandId::kResidual);
  args.gamma = tensor(OperandId::kGamma);
  args.epsilon = epsilon;
  args.y = y_;
  args.norm_out = norm_out_;
  return args;
}

std::string Operands::describe() const {
  std::string text;
  for (int i = 0; i < kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    if (!(*this)[id].given()) continue;
    if (!text.empty()) text += "; ";
    text += fmt::format("{} {} from {}", to_string(id), weft::to_string((*this)[id].tensor),
                        (*this)[id].source);
  }
  return text;
}

}  // namespace weft::tools
