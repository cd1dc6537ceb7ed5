// SPDX-License-Identifier: Apache-2.0
// Packed weights for operators, which take them as integers: those pass through torch.compile.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "pytorch/tensors.h"
#include "weft/packed_weight.h"

namespace weft::python {

/// Packs a weight for the context of that group, or for PyTorch's threads; returns its handle.
std::int64_t pack_weight(const at::Tensor& weight, const std::optional<std::string>& group);
/// The weight of a handle; raises ValueError naming the operand if there is none.
std::shared_ptr<const PackedWeight> packed_weight(const char* name, std::int64_t handle);
/// Forgets the handle; calls under way keep the weight.
void release_weight(std::int64_t handle);

}  // namespace weft::python
