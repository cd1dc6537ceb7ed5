// SPDX-License-Identifier: Apache-2.0
#include "operators/operands.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "weft/weights.h"

namespace weft::tools {
namespace {

constexpr std::string_view kNames[] = {"x1",
                                       "x2",
                                       "bias",
                                       "x3",
                                       "dequant_scale",
                                       "pertoken_scale",
                                       "antiquant_scale",
                                       "antiquant_offset",
                                       "comm_quant_scale_1",
                                       "comm_quant_scale_2",
                                       "x1_scale",
                                       "x2_scale",
                                       "residual",
                                       "gamma",
                                       "x",
                                       "weight1",
                                       "weight2",
                                       "expert_tokens",
                                       "bias1",
                                       "bias2",
                                       "scale",
                                       "offset",
                                       "deq_scale1",
                                       "deq_scale2",
                                       "antiquant_scale1",
                                       "antiquant_scale2",
                                       "antiquant_offset1",
                                       "antiquant_offset2",
                                       "expert_ids",
                                       "scales",
                                       "x_active_mask",
                                       "expand_x",
                                       "assist_info_for_combine",
                                       "ep_send_counts",
                                       "expert_scales",
                                       "shared_expert_x",
                                       "residual_x",
                                       "ori_x",
                                       "const_expert_alpha_1",
                                       "const_expert_alpha_2",
                                       "const_expert_v"};
static_assert(std::size(kNames) == kOperands);

std::int64_t bytes_of_tensor(const ConstTensorRef& tensor) {
  return bytes_of(tensor.dtype(), tensor.elements());
}

// Empty tensors keep a page: their views need no special case anywhere.
Result<Buffer> allocate(std::int64_t bytes, std::string_view name) {
  return Buffer::allocate(std::max<std::int64_t>(bytes, 1), std::string(name).c_str());
}

}  // namespace

std::string_view to_string(OperandId id) { return kNames[static_cast<int>(id)]; }

std::string option_name(OperandId id) {
  std::string name = "--" + std::string(to_string(id));
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::optional<OperandId> operand_from_name(std::string_view name) {
  for (int i = 0; i < kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    if (name == to_string(id) || "--" + std::string(name) == option_name(id)) return id;
  }
  return std::nullopt;
}

Result<Operand> Operands::make(OperandId id, DType dtype, std::vector<std::int64_t> dims) {
  Operand operand;
  operand.tensor = ConstTensorRef(nullptr, dtype, dims);
  WEFT_ASSIGN_OR_RETURN(operand.memory, allocate(bytes_of_tensor(operand.tensor), to_string(id)));
  operand.tensor = operand.tensor.with_data(operand.memory.data());
  return operand;
}

Status Operands::store_x2_as_nz(Context& context) {
  Operand& x2 = (*this)[OperandId::kX2];
  const ConstTensorRef plain = x2.tensor;
  if (plain.rank() != 2) return {};  // the operator refuses it
  // Two axes may both have stride 1; the memory then is the same either way.
  const bool transposed = !plain.dense();
  const ConstTensorRef stored = transposed ? plain.transposed() : plain;
  WEFT_ASSIGN_OR_RETURN(const std::int64_t elements,
                        calculate_matmul_weight_size(stored.dims(), stored.dtype()));
  WEFT_ASSIGN_OR_RETURN(Buffer image, allocate(bytes_of(stored.dtype(), elements), "x2"));
  const TensorRef view =
      TensorRef::fractal_nz(image.data(), stored.dtype(), stored.dim(0), stored.dim(1));
  WEFT_RETURN_IF_ERROR(pack_fractal_nz(context, stored, view));
  x2.memory = std::move(image);
  x2.tensor = transposed ? view.transposed() : view;
  return {};
}

Status Operands::make_outputs(const std::vector<OutputSpec>& specs) {
  outputs_.clear();
  for (const OutputSpec& spec : specs) {
    OutputMemory& made = outputs_.emplace_back();
    if (!spec.like.given()) continue;
    const std::int64_t bytes = bytes_of_tensor(spec.like);
    WEFT_ASSIGN_OR_RETURN(made.memory, allocate(bytes, spec.name));
    void* data = made.memory.data();
    if (spec.in_place) {
      const Operand& shared = (*this)[*spec.in_place];
      if (!shared.given() || bytes_of_tensor(shared.tensor) != bytes) {
        return Status(StatusCode::kInvalidArgument,
                      fmt::format("{} cannot have the memory of {}: it is {}, {} is {}.\nLeave "
                                  "--inplace out.",
                                  spec.name, to_string(*spec.in_place), weft::to_string(spec.like),
                                  to_string(*spec.in_place), weft::to_string(shared.tensor)));
      }
      made.in_place = true;
      std::memcpy(data, shared.memory.data(), static_cast<std::size_t>(bytes));
      data = shared.memory.data();
    }
    made.tensor = TensorRef(data, spec.like.dtype(), spec.like.dims());
  }
  return {};
}

void Operands::restore() {
  for (const OutputMemory& output : outputs_) {
    if (!output.in_place) continue;
    std::memcpy(output.tensor.data(), output.memory.data(),
                static_cast<std::size_t>(bytes_of_tensor(output.tensor)));
  }
}

std::string Operands::describe() const {
  std::string text;
  for (int i = 0; i < kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    if (!(*this)[id].given()) continue;
    if (!text.empty()) text += "; ";
    text += fmt::format("{} {} from {}", to_string(id), weft::to_string(tensor(id)),
                        (*this)[id].source);
  }
  return text;
}

bool is_zero_row(const TensorRef& output, std::int64_t row, std::int64_t rows) {
  if (!output.given()) return true;
  const std::int64_t bytes = bytes_of(output.dtype(), output.elements()) / rows;
  const auto* from = static_cast<const std::uint8_t*>(output.data()) + row * bytes;
  return std::all_of(from, from + bytes, [](std::uint8_t byte) { return byte == 0; });
}

}  // namespace weft::tools
