// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of matmul_reduce_scatter can break.
#pragma once

#include "ops/local_matmul/operands.h"
#include "weft/ops/matmul_reduce_scatter.h"

namespace weft::ops {

inline constexpr std::string_view kMatmulReduceScatter = "matmul_reduce_scatter";

MatmulOperands operands_of(const MatmulReduceScatterArgs& args);

/// Rules of plan(): shapes, dtypes, attributes. `empty` is set if there is nothing to compute (and
/// every rule that comes before that case holds); the later rules are then not checked.
Status check_plan(const MatmulReduceScatterArgs& args, int rank, int ranks, bool& empty);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MatmulReduceScatterArgs& planned, const MatmulReduceScatterArgs& args,
                 int rank);

}  // namespace weft::ops
