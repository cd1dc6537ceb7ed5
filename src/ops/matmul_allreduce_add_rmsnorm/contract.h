// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of matmul_allreduce_add_rmsnorm can break.
#pragma once

#include "ops/local_matmul/operands.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace weft::ops {

inline constexpr std::string_view kMatmulAllReduceAddRmsNorm = "matmul_allreduce_add_rmsnorm";

MatmulOperands operands_of(const MatmulAllReduceAddRmsNormArgs& args);

/// Rules of plan(): shapes, dtypes, attributes. `empty` is set if there is nothing to compute (and
/// every rule that comes before that case holds); the later rules are then not checked.
Status check_plan(const MatmulAllReduceAddRmsNormArgs& args, int rank, bool& empty);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MatmulAllReduceAddRmsNormArgs& planned,
                 const MatmulAllReduceAddRmsNormArgs& args, int rank);

}  // namespace weft::ops
