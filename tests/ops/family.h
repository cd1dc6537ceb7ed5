// SPDX-License-Identifier: Apache-2.0
// The matmul + collective operators by the type of their arguments, for tests that treat them
// alike.
#pragma once

#include <array>
#include <utility>

#include "operators/args.h"
#include "operators/operator.h"

namespace weft::testing {

using tools::OperandId;

/// Which tensor of the arguments is which operand.
using Input = std::pair<OperandId, ConstTensorRef*>;

template <typename Args>
struct Family;

template <>
struct Family<MatmulAllReduceArgs> {
  using Args = MatmulAllReduceArgs;
  using Op = MatmulAllReduce;
  using Options = MatmulAllReduceOptions;
  static constexpr auto kCall = &matmul_allreduce;
  static std::array<Input, 10> inputs(Args& a) {
    return {{{OperandId::kX1, &a.x1},
             {OperandId::kX2, &a.x2},
             {OperandId::kBias, &a.bias},
             {OperandId::kX3, &a.x3},
             {OperandId::kDequantScale, &a.dequant_scale},
             {OperandId::kPertokenScale, &a.pertoken_scale},
             {OperandId::kAntiquantScale, &a.antiquant_scale},
             {OperandId::kAntiquantOffset, &a.antiquant_offset},
             {OperandId::kCommQuantScale1, &a.comm_quant_scale_1},
             {OperandId::kCommQuantScale2, &a.comm_quant_scale_2}}};
  }
  static std::array<TensorRef*, 1> outputs(Args& a) { return {&a.output}; }
};

template <>
struct Family<MatmulAllReduceAddRmsNormArgs> {
  using Args = MatmulAllReduceAddRmsNormArgs;
  using Op = MatmulAllReduceAddRmsNorm;
  using Options = MatmulAllReduceAddRmsNormOptions;
  static constexpr auto kCall = &matmul_allreduce_add_rmsnorm;
  static std::array<Input, 8> inputs(Args& a) {
    return {{{OperandId::kX1, &a.x1},
             {OperandId::kX2, &a.x2},
             {OperandId::kBias, &a.bias},
             {OperandId::kDequantScale, &a.dequant_scale},
             {OperandId::kAntiquantScale, &a.antiquant_scale},
             {OperandId::kAntiquantOffset, &a.antiquant_offset},
             {OperandId::kResidual, &a.residual},
             {OperandId::kGamma, &a.gamma}}};
  }
  static std::array<TensorRef*, 2> outputs(Args& a) { return {&a.y, &a.norm_out}; }
};

template <>
struct Family<MatmulReduceScatterArgs> {
  using Args = MatmulReduceScatterArgs;
  using Op = MatmulReduceScatter;
  using Options = MatmulReduceScatterOptions;
  static constexpr auto kCall = &matmul_reduce_scatter;
  static std::array<Input, 5> inputs(Args& a) {
    return {{{OperandId::kX1, &a.x1},
             {OperandId::kX2, &a.x2},
             {OperandId::kBias, &a.bias},
             {OperandId::kX1Scale, &a.x1_scale},
             {OperandId::kX2Scale, &a.x2_scale}}};
  }
  static std::array<TensorRef*, 1> outputs(Args& a) { return {&a.output}; }
};

/// body(Args()) with the type of the operator's arguments.
template <typename Body>
decltype(auto) with_args_of(const tools::Operator& op, const Body& body) {
  if (&op == &tools::matmul_allreduce_operator()) return body(MatmulAllReduceArgs());
  if (&op == &tools::matmul_reduce_scatter_operator()) return body(MatmulReduceScatterArgs());
  return body(MatmulAllReduceAddRmsNormArgs());
}

}  // namespace weft::testing
