// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_reduce_scatter/reference.h"

#include <vector>

#include "ops/matmul_collective/reference.h"
#include "ops/matmul_reduce_scatter/contract.h"

namespace weft::ops {

RowError check_row(std::span<const MatmulReduceScatterArgs> ranks, int rank, std::int64_t row) {
  std::vector<MatmulOperands> operands;
  for (const MatmulReduceScatterArgs& args : ranks) operands.push_back(operands_of(args));
  const ConstTensorRef output = ranks[static_cast<size_t>(rank)].output;
  return check_output_row(operands, {}, output, row, rank * output.dim(0) + row);
}

}  // namespace weft::ops
