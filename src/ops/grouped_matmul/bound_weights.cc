// SPDX-License-Identifier: Apache-2.0
#include "ops/grouped_matmul/bound_weights.h"

#include <cstring>

#include "ops/dense.h"
#include "ops/weights/packed_weight.h"

namespace weft::ops {
namespace {

// An operand of one expert.
ConstTensorRef of_expert(const WeightOperands& operands, const ConstTensorRef& tensor,
                         std::int64_t expert) {
  return tensor.given() && operands.has_experts() ? slice(tensor, expert) : tensor;
}

// The groups and columns of a scale, both 1 for one per tensor.
bool is_per_tensor(const WeightOperands& operands) {
  const ConstTensorRef& scale = operands.antiquant_scale;
  return operands.group_size == 0 && scale.dim(scale.rank() - 1) == 1;
}

// Bytes of a slot for what is copied: nothing if it can be used where it is.
std::int64_t copied_bytes(const WeightOperands& operands, const ConstTensorRef& tensor) {
  if (!tensor.given() || of_expert(operands, tensor, 0).dense()) return 0;
  return round_up(bytes_of(tensor.dtype(), of_expert(operands, tensor, 0).elements()), kCacheLine);
}

const void* dense(const ConstTensorRef& tensor, std::byte* room) {
  if (!tensor.given()) return nullptr;
  if (tensor.dense()) return tensor.data();
  copy_dense(tensor, room);
  return room;
}

// 16-bit values widened, 32-bit ones as they are.
void bind_bias(const rows::Kernels& rows, const ConstTensorRef& bias, std::byte* to) {
  if (info(bias.dtype()).bits == 32) return copy_dense(bias, to);
  auto* dst = reinterpret_cast<float*>(to);
  const std::int64_t n = bias.elements();
  if (bias.dense()) return rows.widen(bias.data(), dst, n);
  for (std::int64_t j = 0; j < n; ++j)
    rows.widen(static_cast<const std::byte*>(bias.data()) + j * bias.stride(0) * 2, dst + j, 1);
}

void bind_dequant_scale(const rows::Kernels& rows, const ConstTensorRef& scale, bool truncate,
                        float* dst) {
  const int last = scale.rank() - 1;
  const std::int64_t step = scale.stride(last) * info(scale.dtype()).bits / 8;
  const auto* src = static_cast<const std::byte*>(scale.data());
  for (std::int64_t j = 0; j < scale.dim(last); ++j, src += step) {
    if (scale.dtype() == DType::kBFloat16) {
      rows.widen(src, dst + j, 1);
      continue;
    }
    std::uint32_t bits;  // the fp32 scale, or the low 32 bits of the word it is packed in
    std::memcpy(&bits, src, sizeof(bits));
    if (truncate) bits &= 0xffffe000u;
    std::memcpy(dst + j, &bits, sizeof(bits));
  }
}

}  // namespace

gemm::Weight BoundWeights::layout_of(const gemm::Kernel& kernel, const WeightOperands& operands) {
  gemm::Weight weight;
  if (operands.packed) {
    weight.stored = kernel.b;
    weight.packed = operands.packed->state().panels.data();
    weight.packed_kc = operands.packed->state().kc;
    return weight;
  }
  weight = gemm::weight_of(operands.weight);
  if (!operands.antiquant_scale.given()) return weight;
  weight.per_tensor = is_per_tensor(operands);
  weight.group_size = operands.group_size;
  weight.n = operands.n();
  return weight;
}

Result<BoundWeights> BoundWeights::plan(ScratchPool& scratch, const gemm::Kernel& kernel,
                                        const rows::Kernels& rows, const WeightOperands& operands,
                                        std::int64_t slots) {
  BoundWeights weights;
  weights.kernel_ = &kernel;
  weights.rows_ = &rows;
  const std::int64_t columns = round_up((operands.n() + kernel.nr) * 4, kCacheLine);
  weights.scale_at_ = operands.bias.given() ? columns : 0;
  weights.antiquant_at_ = weights.scale_at_ + (operands.dequant_scale.given() ? columns : 0);
  weights.offset_at_ = weights.antiquant_at_ + copied_bytes(operands, operands.antiquant_scale);
  weights.slot_bytes_ = weights.offset_at_ + copied_bytes(operands, operands.antiquant_offset);
  WEFT_ASSIGN_OR_RETURN(weights.slots_,
                        scratch.reserve(ScratchFor::kBiases, slots * weights.slot_bytes_));
  return weights;
}

BoundWeight BoundWeights::bind(const WeightOperands& operands, std::int64_t expert,
                               std::int64_t slot) const {
  std::byte* const room = slots_.data() + slot * slot_bytes_;
  BoundWeight bound;
  bound.weight = layout_of(*kernel_, operands);
  if (operands.packed)
    bound.weight.packed += expert * operands.packed->state().expert_bytes();
  else
    bound.weight.data = of_expert(operands, operands.weight, expert).data();
  bound.weight.scale =
      dense(of_expert(operands, operands.antiquant_scale, expert), room + antiquant_at_);
  bound.weight.offset =
      dense(of_expert(operands, operands.antiquant_offset, expert), room + offset_at_);
  if (operands.bias.given()) {
    bind_bias(*rows_, of_expert(operands, operands.bias, expert), room);
    bound.bias = room;
  }
  if (operands.dequant_scale.given()) {
    const ConstTensorRef scale = of_expert(operands, operands.dequant_scale, expert);
    auto* dst = reinterpret_cast<float*>(room + scale_at_);
    bind_dequant_scale(*rows_, scale, operands.truncate_dequant_scale, dst);
    bound.scale = dst;
    bound.scale_step = scale.dim(scale.rank() - 1) == 1 ? 0 : 1;
  }
  return bound;
}

}  // namespace weft::ops
