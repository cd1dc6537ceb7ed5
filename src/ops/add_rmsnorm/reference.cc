// SPDX-License-Identifier: Apache-2.0
#include "ops/add_rmsnorm/reference.h"

#include <cmath>
#include <limits>
#include <vector>

namespace weft::ops {
namespace {

struct Rstd {
  double value, relative_error;
};

// The mean of squares overflows in fp32 where double goes on; 1 / sqrt is 0 then.
Rstd exact_rstd(const std::vector<double>& x, double epsilon) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const auto n = static_cast<double>(x.size());
  double squares = 0;
  bool overflow = false;
  for (double value : x) {
    squares += value * value;
    overflow = overflow || value * value > kLargest;
  }
  const double mean = squares / n;
  if (std::isnan(mean)) return {mean, 0};
  if (overflow || mean > kLargest) return {0, 0};
  // At most n / 32 + 5 additions in a row, a square and 1 / n, each of relative error 2^-24, and
  // below the normal range each of half the least step. The root halves what reaches it.
  const double mean_error = mean * (n / 32 + 7) * 0x1p-24 + n * 0x1p-149;
  return {1 / std::sqrt(mean + epsilon),
          1.01 * (0.5 * (mean_error / (mean + epsilon) + 0x1p-24) + 2 * 0x1p-24)};
}

}  // namespace

RowError check_row(const AddRmsNormArgs& a, std::int64_t row) {
  const DType type = a.x1.dtype();
  const double u = info(type).unit_roundoff, largest = largest_finite(type);
  const double slack = subnormal_slack(type);
  const int leading = a.x1.rank() - a.gamma.rank();
  const std::int64_t n = a.gamma.elements();
  const ConstTensorRef y = a.y, x = a.x, rstd = a.rstd;
  const std::int64_t x1_at = row_start(a.x1, leading, row), x2_at = row_start(a.x2, leading, row),
                     y_at = row_start(y, leading, row), x_at = row_start(x, leading, row);
  RowError error;
  std::vector<double> sum;
  for (std::int64_t j = 0; j < n; ++j) {
    const double want = element_value(a.x1, x1_at + j) + element_value(a.x2, x2_at + j);
    sum.push_back(element_value(x, x_at + j));
    // The fp32 sum is rounded once more on its way to a T of 16 bits.
    const double bound = 1.01 * u * std::fabs(want) + slack;
    error.add(share_of_bound(sum.back(), want, bound, largest), "x");
  }
  const Rstd r = exact_rstd(sum, static_cast<float>(a.epsilon));
  if (rstd.given())
    error.add(share_of_bound(element_value(rstd, row_start(rstd, leading, row)), r.value,
                             r.relative_error * r.value + 0x1p-149, HUGE_VAL),
              "rstd");
  const double relative = (1 + u) * (1 + u) * (1 + 0x1p-24) * (1 + r.relative_error) - 1;
  for (std::int64_t j = 0; j < n; ++j) {
    const double gamma = element_value(a.gamma, row_start(a.gamma, a.gamma.rank(), j));
    const double normalised = sum[static_cast<size_t>(j)] * r.value;
    const double want = normalised * gamma;
    // What is rounded to zero before it meets an infinite gamma makes a nan.
    if (std::isinf(gamma) && std::fabs(normalised) <= 1.01 * slack &&
        std::isnan(element_value(y, y_at + j)))
      continue;
    const double bound = relative * std::fabs(want) + slack * (1 + std::fabs(gamma)) * 1.01;
    error.add(share_of_bound(element_value(y, y_at + j), want, bound, largest), "y");
  }
  return error;
}

}  // namespace weft::ops
