// SPDX-License-Identifier: Apache-2.0
// What is between the products, by the operator's name and by the kernels'.
#pragma once

#include "kernels/activation/activation.h"
#include "weft/ops/ffn.h"

namespace weft::ops {

/// What is applied to the gate, or without one to the value itself.
activation::Function function_of(Activation activation);

}  // namespace weft::ops
