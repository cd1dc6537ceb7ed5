// SPDX-License-Identifier: Apache-2.0
// The sum over ranks in double precision with derived bounds, and the exact emulation of int8
// communication. Needs the operands of all ranks in one process.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/local_matmul/operands.h"
#include "ops/matmul_collective/wire.h"
#include "ops/reference_bounds.h"

namespace weft::ops {

struct SumRow {
  std::vector<double> value, bound;
};

/// Row `row` of M = T(sum of the T-rounded partials):
///   bound e_M = Σ bound(partial_r) + W·2^-24·Σ|partial_r| + u_T·|M|
SumRow reference_sum_row(std::span<const MatmulOperands> ranks, DType io, std::int64_t row);

/// The row that int8 communication gives, bit for bit. Expects the same scales on all ranks.
std::vector<float> int8_sum_row(std::span<const MatmulOperands> ranks, const CommScales& scales,
                                DType io, std::int64_t row);

/// Compares row `output_row` of `output` with row `row` of the sum: within its bound, or with
/// scales given bit for bit (worst is then 0 or infinity).
RowError check_output_row(std::span<const MatmulOperands> ranks, const CommScales& scales,
                          const ConstTensorRef& output, std::int64_t output_row, std::int64_t row);

}  // namespace weft::ops
