// SPDX-License-Identifier: Apache-2.0
// Operands as the arguments of each operator.
#pragma once

#include "operators/operands.h"
#include "weft/ops/add_rmsnorm.h"
#include "weft/ops/ffn.h"
#include "weft/ops/matmul_allreduce.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"
#include "weft/ops/matmul_reduce_scatter.h"
#include "weft/ops/moe_combine.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::tools {

template <>
MatmulAllReduceArgs Operands::args() const;
template <>
MatmulAllReduceAddRmsNormArgs Operands::args() const;
template <>
MatmulReduceScatterArgs Operands::args() const;
template <>
AddRmsNormArgs Operands::args() const;
template <>
FfnArgs Operands::args() const;
template <>
MoeDispatchArgs Operands::args() const;
template <>
MoeCombineArgs Operands::args() const;
template <>
MoeCombineAddRmsNormArgs Operands::args() const;

}  // namespace weft::tools
