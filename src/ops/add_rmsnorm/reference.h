// SPDX-License-Identifier: Apache-2.0
// add_rmsnorm in double precision with derived error bounds: for tests and `weft check`.
#pragma once

#include <cstdint>

#include "ops/reference_bounds.h"
#include "weft/ops/add_rmsnorm.h"

namespace weft::ops {

/// Checks row `row` of the results; rows are counted in row-major order of the axes that are not
/// normalised. x1 and x2 must hold the values from before the call (for the in-place form: a copy).
///   x = T(x1 + x2):  bound u_T·|x|
///   rstd and y are compared with the definition applied to the x that was produced:
///     rstd: (n/32 + 7)·2^-24 of the mean, of which the root halves the error; then 2^-24 twice
///     y:    rstd's error, two roundings to T and one to fp32
RowError check_row(const AddRmsNormArgs& args, std::int64_t row);

}  // namespace weft::ops
