// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce_add_rmsnorm/reference.h"

#include <cmath>
#include <vector>

#include "ops/matmul_allreduce_add_rmsnorm/contract.h"
#include "ops/matmul_collective/reference.h"

namespace weft::ops {

RowError check_row(std::span<const MatmulAllReduceAddRmsNormArgs> ranks, int rank,
                   std::int64_t row) {
  const MatmulAllReduceAddRmsNormArgs& args = ranks[static_cast<size_t>(rank)];
  const DType io = args.residual.dtype();
  const double u = info(io).unit_roundoff, largest = largest_finite(io);
  const std::int64_t n = args.residual.dim(2);
  const std::int64_t residual_at = row_index(args.residual, row), y_at = row_index(args.y, row),
                     norm_at = row_index(args.norm_out, row);
  const ConstTensorRef y = args.y, norm_out = args.norm_out;
  std::vector<MatmulOperands> operands;
  for (const MatmulAllReduceAddRmsNormArgs& each : ranks) operands.push_back(operands_of(each));
  const SumRow sum = reference_sum_row(operands, io, row);

  RowError error;
  double square_sum = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    const auto i = static_cast<size_t>(j);
    const double want = sum.value[i] + element_value(args.residual, residual_at + j);
    const double bound = sum.bound[i] + u * (std::fabs(want) + sum.bound[i]) + subnormal_slack(io);
    const double got = element_value(y, y_at + j);
    error.add(share_of_bound(got, want, bound, largest), "y");
    square_sum += got * got;
  }
  // The fp32 sum of squares has n / 32 + 5 additions in a row, each of relative error 2^-24; half
  // of that reaches rstd, whose square root and division add two more.
  const double rstd_error = (0.5 * (static_cast<double>(n) / 32 + 7) + 2) * 0x1p-24;
  const double rstd =
      1 / std::sqrt(square_sum / static_cast<double>(n) + static_cast<float>(args.epsilon));
  for (std::int64_t j = 0; j < n; ++j) {
    const double gamma = element_value(args.gamma, j * args.gamma.stride(0));
    const double want = element_value(y, y_at + j) * rstd * gamma;
    const double bound = (2 * u + u * u + 2 * rstd_error) * std::fabs(want) +
                         subnormal_slack(io) * (1 + std::fabs(gamma)) * 1.01;
    error.add(share_of_bound(element_value(norm_out, norm_at + j), want, bound, largest),
              "norm_out");
  }
  return error;
}

}  // namespace weft::ops
