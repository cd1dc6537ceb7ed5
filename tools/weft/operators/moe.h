// SPDX-License-Identifier: Apache-2.0
// What the operators of a mixture of experts share: sizes, which tokens are active, random
// operands, and the calls that weft check makes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "operators/cases.h"
#include "operators/variants.h"
#include "ops/moe_routing/routing.h"

namespace weft::tools {

/// The experts of a case with so many ranks: 8 a rank if it does not say.
MoeExperts experts_of(const MoeCase& c, int ranks);
/// Experts of a token: 8, or all if they are fewer, if the case does not say.
std::int64_t top_k_of(const MoeCase& c, int ranks);
/// weft::local_expert_num; 0 for experts that no plan accepts.
std::int64_t local_experts(const MoeExperts& experts, int rank, int ranks);
/// Rows of expand_x that are enough, whatever the ids, where no rank has more than `tokens`, or, if
/// the attributes say so, than global_bs / ranks.
std::int64_t row_capacity(const MoeAttributes& attributes, std::int64_t tokens, std::int64_t top_k,
                          int rank, int ranks);
/// That of expand_x's `operands`; 0 if no plan accepts them.
std::int64_t row_capacity(const Operands& operands, int ranks);
/// kInvalidArgument if `tokens` do not fit a global_bs that is not 0.
Status check_global_bs(const MoeAttributes& attributes, std::int64_t tokens, int rank, int ranks);

/// Which tokens and entries of a rank x_active_mask leaves over.
ops::ActiveMask active_mask(const Operands& operands);

/// Rows that the tokens of a rank have at experts: sent by its dispatch, returned to its combine.
/// Of operands that a plan has accepted.
std::int64_t rows_of_tokens(const Operands& operands);
std::int64_t active_tokens(const Operands& operands);
/// Of a combine: the rows that this rank's experts return staged, those of its tokens read, and for
/// every token `passes` rows read or written.
double bytes_of_combine(const Operands& operands, int passes);

/// Ids that are distinct within a token, and weights whose sum for a token is 1. A combine's rows
/// are those that the dispatch of the same case and seed makes, and what lies behind them is nan.
Result<Operands> random_moe(const Case& c, int rank, int ranks, bool with_values);

/// With and without masks, shared experts on ranks or not, special experts, int8 rows, ids of no
/// expert, and experts that do not divide by the ranks.
std::vector<Variant> moe_variants(const Shape& shape, const DTypeRow& row, int ranks,
                                  std::uint64_t seed);

/// ", 64 experts, 8 per token, 2 on 4 shared ranks".
std::string moe_settings(const Case& c);

}  // namespace weft::tools
