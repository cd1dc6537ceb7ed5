// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce/reference.h"

#include <vector>

#include "ops/matmul_allreduce/contract.h"
#include "ops/matmul_collective/reference.h"

namespace weft::ops {

RowError check_row(std::span<const MatmulAllReduceArgs> ranks, int rank, std::int64_t row) {
  std::vector<MatmulOperands> operands;
  for (const MatmulAllReduceArgs& args : ranks) operands.push_back(operands_of(args));
  const MatmulAllReduceArgs& own = ranks[static_cast<size_t>(rank)];
  return check_output_row(operands, comm_scales_of(own), own.output, row, row);
}

}  // namespace weft::ops
