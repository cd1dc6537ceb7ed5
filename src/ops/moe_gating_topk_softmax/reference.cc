// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_gating_topk_softmax/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/activation/activation.h"

namespace weft::ops {
namespace {

struct Exact {
  std::vector<double> x, p, error;  // absolute errors
  bool nan = false;
};

Exact softmax(const MoeGatingTopkSoftmaxArgs& a, std::int64_t row) {
  constexpr double kU = 0x1p-24;
  const int leading = a.x.rank() - 1;
  const std::int64_t n = a.x.dim(leading), start = row_start(a.x, leading, row);
  Exact r;
  double most = -HUGE_VAL, sum = 0, sum_error = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    r.x.push_back(element_value(a.x, start + j * a.x.stride(leading)));
    if (r.x.back() > most) most = r.x.back();
  }
  for (double x : r.x) {
    const double e = std::exp(x - most);
    r.p.push_back(e);
    r.error.push_back(e == 0 ? 0 : kU * std::fabs(x - most) + 2 * activation::kExpUlps * kU);
    sum += e;
    sum_error += e * r.error.back();
  }
  r.nan = std::isnan(sum);
  const double of_sum = sum_error / sum + (static_cast<double>(n) / 32 + 5) * kU + kU;
  for (std::size_t j = 0; j < r.p.size(); ++j) {
    r.p[j] /= sum;
    r.error[j] = 1.01 * r.p[j] * (r.error[j] + of_sum) + 0x1p-148;
  }
  return r;
}

// Which experts a row without nan may have: the chosen ones and the best of the others.
void check_order(RowError& error, const Exact& exact, const std::vector<std::int64_t>& chosen) {
  std::vector<bool> taken(exact.p.size());
  const auto must = [&error](bool holds) { error.add(holds ? 0 : HUGE_VAL, "expert_idx"); };
  for (std::int64_t e : chosen) {
    must(!taken[static_cast<std::size_t>(e)]);
    taken[static_cast<std::size_t>(e)] = true;
  }
  const auto ahead = [&](std::int64_t first, std::int64_t second) {
    const auto i = static_cast<std::size_t>(first), j = static_cast<std::size_t>(second);
    must(exact.p[i] + exact.error[i] >= exact.p[j] - exact.error[j]);
    must(exact.x[i] != exact.x[j] || first < second);
  };
  for (std::size_t j = 1; j < chosen.size(); ++j) ahead(chosen[j - 1], chosen[j]);
  for (std::size_t e = 0; e < taken.size() && !chosen.empty(); ++e)
    if (!taken[e]) ahead(chosen.back(), static_cast<std::int64_t>(e));
}

}  // namespace

RowError check_row(const MoeGatingTopkSoftmaxArgs& a, std::int64_t row) {
  RowError error;
  const int leading = a.x.rank() - 1;
  const DType type = a.x.dtype();
  const std::int64_t experts = a.x.dim(leading), tokens = a.row_idx.elements() / a.k;
  const ConstTensorRef y = a.y, expert_idx = a.expert_idx, row_idx = a.row_idx;
  const Exact exact = softmax(a, row);
  const bool finished =
      a.finished.given() && element_value(a.finished, row_start(a.finished, leading, row)) != 0;
  const auto must = [&error](bool holds, std::string_view what) {
    error.add(holds ? 0 : HUGE_VAL, what);
  };
  std::vector<std::int64_t> chosen;
  for (std::int64_t j = 0; j < a.k; ++j) {
    must(element_value(row_idx, row_start(row_idx, leading, row) + j) ==
             static_cast<double>(j * tokens + row),
         "row_idx");
    const auto e = static_cast<std::int64_t>(
        element_value(expert_idx, row_start(expert_idx, leading, row) + j));
    must(finished ? e == experts : e >= 0 && e < experts, "expert_idx");
    if (!finished && e >= 0 && e < experts) chosen.push_back(e);
  }
  if (!exact.nan) check_order(error, exact, chosen);
  // Of a finished token only the values are known: the largest p, in order.
  std::vector<std::int64_t> order(exact.p.size());
  for (std::size_t e = 0; e < order.size(); ++e) order[e] = static_cast<std::int64_t>(e);
  if (!exact.nan)
    std::ranges::stable_sort(order, [&](std::int64_t s, std::int64_t t) {
      return exact.p[static_cast<std::size_t>(s)] > exact.p[static_cast<std::size_t>(t)];
    });
  if (exact.nan && !finished)
    must(std::ranges::equal(chosen, std::span(order).first(chosen.size())), "expert_idx");
  for (std::int64_t j = 0; j < a.k; ++j) {
    const auto e = static_cast<std::size_t>(finished || std::ssize(chosen) != a.k
                                                ? order[static_cast<std::size_t>(j)]
                                                : chosen[static_cast<std::size_t>(j)]);
    const double got = element_value(y, row_start(y, leading, row) + j);
    const double bound =
        exact.error[e] + 1.01 * info(type).unit_roundoff * exact.p[e] + subnormal_slack(type);
    error.add(share_of_bound(got, exact.p[e], bound, largest_finite(type)), "y");
  }
  return error;
}

}  // namespace weft::ops
