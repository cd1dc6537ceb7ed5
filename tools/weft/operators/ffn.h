// SPDX-License-Identifier: Apache-2.0
// The parts of ffn's operator: random operands, and the calls that weft check makes.
#pragma once

#include <cstdint>
#include <vector>

#include "operators/cases.h"
#include "operators/variants.h"

namespace weft::tools {

/// How many rows each expert gets.
std::vector<std::int64_t> deal_rows(Deal deal, std::int64_t rows, int experts);

/// Weights and scales with which the first product has a variance between 2 and 3, an activation
/// that is quantised takes all values of int8, and y has a variance near 1.
Result<Operands> random_ffn(const Case& c, int rank, int ranks, bool with_values);

/// Every activation of the row, dense and with experts; what else a call may have takes turns.
std::vector<Variant> ffn_variants(const Shape& shape, const DTypeRow& row, std::uint64_t seed);

}  // namespace weft::tools
