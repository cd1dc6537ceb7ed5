// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of matmul_allreduce can break.
#pragma once

#include "ops/local_matmul/operands.h"
#include "ops/matmul_collective/wire.h"
#include "weft/ops/matmul_allreduce.h"

namespace weft::ops {

inline constexpr std::string_view kMatmulAllReduce = "matmul_allreduce";

MatmulOperands operands_of(const MatmulAllReduceArgs& args);
CommScales comm_scales_of(const MatmulAllReduceArgs& args);

/// Rules of plan(): shapes, dtypes, attributes.
Status check_plan(const MatmulAllReduceArgs& args, int rank);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MatmulAllReduceArgs& planned, const MatmulAllReduceArgs& args, int rank);

}  // namespace weft::ops
