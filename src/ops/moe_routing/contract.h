// SPDX-License-Identifier: Apache-2.0
// The rules that moe_dispatch and moe_combine have in common.
#pragma once

#include <cstdint>
#include <string_view>

#include "ops/contract.h"
#include "ops/moe_routing/placement.h"
#include "weft/ops/moe_experts.h"

namespace weft::ops {

/// The numbers of experts fit each other and the ranks. With TP each rank has one expert.
void check_experts(Contract& contract, const MoeExperts& experts, int ranks, bool tp);

void check_experts_as_planned(Contract& contract, const MoeExperts& planned,
                              const MoeExperts& experts);

/// Of an operand that is given.
void check_dtype(Contract& contract, std::string_view name, const ConstTensorRef& tensor,
                 DType dtype);
/// T, the dtype of the tokens.
void check_token_dtype(Contract& contract, std::string_view name, const ConstTensorRef& tensor);
void check_axes(Contract& contract, std::string_view name, const ConstTensorRef& tensor, int least,
                int most);
/// No extent of two matrices is above what int32 holds, and no token has more experts than it may.
void check_limits(Contract& contract, std::string_view name, const ConstTensorRef& rows,
                  const ConstTensorRef& expert_ids);
/// (rows, columns), or with three axes (a, b, columns) with a · b = rows; adjacent elements.
void check_token_rows(Contract& contract, std::string_view name, const ConstTensorRef& tensor,
                      std::int64_t rows, std::int64_t columns);
/// With TP the rows of both ranks of a pair travel as wholes.
void check_dense_pair_rows(Contract& contract, const ConstTensorRef& expand_x, bool tp);
/// Dense, with at least so many elements, or with `exactly` so many.
void check_vector(Contract& contract, std::string_view name, const ConstTensorRef& tensor,
                  std::int64_t elements, bool exactly);
/// (Bs, K), any strides.
void check_matrix(Contract& contract, std::string_view name, const ConstTensorRef& tensor,
                  std::int64_t rows, std::int64_t columns);
/// (Bs) or (Bs, K).
void check_mask(Contract& contract, const ConstTensorRef& mask, std::int64_t tokens,
                std::int64_t k);

}  // namespace weft::ops
