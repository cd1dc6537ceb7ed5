// SPDX-License-Identifier: Apache-2.0
// The operands of the local product that all matmul + collective operators share:
//   partial = T(dequant(x1 · x2 + bias)) + x3
// and the rules about them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ops/contract.h"
#include "weft/packed_weight.h"
#include "weft/tensor.h"

namespace weft::ops {

struct MatmulOperands {
  ConstTensorRef x1, x2;
  const PackedWeight* packed_x2 = nullptr;
  ConstTensorRef bias;
  ConstTensorRef dequant_scale, pertoken_scale;
  ConstTensorRef antiquant_scale, antiquant_offset;
  std::int64_t antiquant_group_size = 0;
  ConstTensorRef x3;
  /// What the operator calls its scales.
  std::string_view dequant_name = "dequant_scale", pertoken_name = "pertoken_scale";

  bool weight_given() const { return x2.given() || packed_x2; }
  int weight_rank() const { return packed_x2 ? 2 : x2.rank(); }
  DType weight_dtype() const { return packed_x2 ? packed_x2->dtype() : x2.dtype(); }
  std::int64_t weight_k() const { return packed_x2 ? packed_x2->k() : x2.dim(0); }
  std::int64_t weight_n() const { return packed_x2 ? packed_x2->n() : x2.dim(1); }
};

/// All of them by name, given or not.
TensorList tensors_of(const MatmulOperands& operands);
/// The attributes and the packed weight are those of the plan.
void check_operands_as_planned(Contract& contract, const MatmulOperands& planned,
                               const MatmulOperands& now);

// 65535 · 128 · 128 < 2^31: sums of int8 products stay exact in int32.
inline constexpr std::int64_t kMaxInt8Depth = 65535;

/// How the product is made, from the dtypes of x1 and x2.
enum class Scenario {
  kFloat,        ///< T · T
  kQuant,        ///< int8 · int8, dequantised
  kWeightQuant,  ///< T · int8 or int4, weight restored to T
  kNone,         ///< no such row
};
Scenario scenario_of(DType x1, DType x2);

/// A legal combination of scales for int8 x1 and x2.
enum class PerToken { kNever, kOptional, kAlways };
struct DequantRow {
  DType io, scale;
  PerToken per_token;
};

/// x1, x2 and the scale of the scenario are given. (The scenario of absent operands is kNone.)
void check_operands_given(Contract& contract, const MatmulOperands& operands);
/// dtypes of everything against the rows of the operator; `io` is the dtype T of its outputs.
void check_operand_dtypes(Contract& contract, const MatmulOperands& operands, DType io,
                          std::span<const DequantRow> dequant_rows);
/// x1 has axes, and the k of x2.
void check_inner_extents(Contract& contract, const MatmulOperands& operands);
/// formats, ranks, shapes, group rules, sizes, strides. Expects dtypes and inner extents to hold.
void check_operand_shapes(Contract& contract, const MatmulOperands& operands);

/// The adjacent axis of an int4 weight (…, k, n) holds whole bytes.
void check_int4_pairs(Contract& contract, std::string_view name, const ConstTensorRef& weight);

/// A scale with one value, or one per column: (1); (n) or (1, n).
bool is_per_tensor(const ConstTensorRef& scale);
bool is_per_channel(const ConstTensorRef& scale, std::int64_t n);

/// Rows of x1: m, or b·s.
std::int64_t rows_of(const ConstTensorRef& x1);

}  // namespace weft::ops
