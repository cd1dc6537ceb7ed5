// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_allreduce_add_rmsnorm/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/local_matmul/reference.h"
#include "ops/matmul_allreduce_add_rmsnorm/contract.h"

namespace weft::ops {
namespace {

using Args = MatmulAllReduceAddRmsNormArgs;

std::int64_t row_start(const ConstTensorRef& t, std::int64_t row) {
  return row / t.dim(1) * t.stride(0) + row % t.dim(1) * t.stride(1);
}

double share_of_bound(double got, double want, double bound, double largest) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got))
    return std::isnan(want) && std::isnan(got) ? 0 : kInfinity;
  if (std::isinf(want) || std::isinf(got)) {
    if (got == want) return 0;
    // Rounding may overflow where the exact value is within the bound of the largest finite one.
    return std::isinf(got) && std::signbit(got) == std::signbit(want) &&
                   std::fabs(want) + bound >= largest
               ? 0
               : kInfinity;
  }
  return std::fabs(got - want) / bound;
}

struct SumRow {
  std::vector<double> value, bound;
};

SumRow sum_over_ranks(std::span<const Args> ranks, std::int64_t row, DType io) {
  SumRow sum;
  std::vector<double> magnitude;
  for (const Args& args : ranks) {
    const PartialRow partial = reference_partial_row(operands_of(args), io, row);
    sum.value.resize(partial.value.size());
    sum.bound.resize(partial.value.size());
    magnitude.resize(partial.value.size());
    for (size_t j = 0; j < partial.value.size(); ++j) {
      sum.value[j] += partial.value[j];
      sum.bound[j] += partial.bound[j];
      magnitude[j] += std::fabs(partial.value[j]) + partial.bound[j];
    }
  }
  const double u = info(io).unit_roundoff;
  for (size_t j = 0; j < sum.value.size(); ++j) {
    sum.bound[j] += static_cast<double>(ranks.size()) * 0x1p-24 * magnitude[j];
    sum.bound[j] += u * (std::fabs(sum.value[j]) + sum.bound[j]) + subnormal_slack(io);
  }
  return sum;
}

}  // namespace

RowError check_row(std::span<const Args> ranks, int rank, std::int64_t row) {
  const Args& args = ranks[static_cast<size_t>(rank)];
  const DType io = args.residual.dtype();
  const double u = info(io).unit_roundoff, largest = largest_finite(io);
  const std::int64_t n = args.residual.dim(2);
  const std::int64_t residual_at = row_start(args.residual, row), y_at = row_start(args.y, row),
                     norm_at = row_start(args.norm_out, row);
  const ConstTensorRef y = args.y, norm_out = args.norm_out;
  const SumRow sum = sum_over_ranks(ranks, row, io);

  RowError error;
  double square_sum = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    const auto i = static_cast<size_t>(j);
    const double want = sum.value[i] + element_value(args.residual, residual_at + j);
    const double bound = sum.bound[i] + u * (std::fabs(want) + sum.bound[i]) + subnormal_slack(io);
    const double got = element_value(y, y_at + j);
    error.y = std::max(error.y, share_of_bound(got, want, bound, largest));
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
    error.norm_out = std::max(
        error.norm_out, share_of_bound(element_value(norm_out, norm_at + j), want, bound, largest));
  }
  return error;
}

}  // namespace weft::ops
