// SPDX-License-Identifier: Apache-2.0
#include "jobs/moe_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/float16.h"
#include "operators/random.h"

namespace weft::tools {
namespace {

// Half the distance from 1 to the next number, and a little for what is of second order.
constexpr double kUnit = 1.01 * 0x1p-8, kFloatUnit = 1.01 * 0x1p-24;

double real(std::uint16_t bits) { return bf16_to_f32(bits); }
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Numbers that are not exact, and how far they may be off.
struct Row {
  std::vector<double> value, bound;
  explicit Row(std::int64_t n) : value(at(n), 0), bound(at(n), 0) {}
};

double share(double got, double want, double bound) {
  const double off = std::abs(got - want);
  if (off <= bound) return bound > 0 ? off / bound : 0;
  return std::max(1.001, off / bound);  // in this order: also of a nan
}

/// x · w in fp32 sums, w (k, n) row-major.
Row product(const std::uint16_t* x, const std::uint16_t* w, std::int64_t k, std::int64_t n) {
  Row h(n);
  for (std::int64_t i = 0; i < k; ++i) {
    const double left = real(x[i]);
    for (std::int64_t j = 0; j < n; ++j) {
      const double term = left * real(w[i * n + j]);
      h.value[at(j)] += term;
      h.bound[at(j)] += std::abs(term);
    }
  }
  for (double& bound : h.bound) bound *= static_cast<double>(k) * kFloatUnit;
  return h;
}

/// What one expert makes of a token. silu's slope is below 1.1.
Row expert_row(const MoeSizes& s, std::int64_t expert, const std::uint16_t* x) {
  std::vector<std::uint16_t> up(at(2 * s.hidden * s.inner)), down(at(s.inner * s.hidden));
  fill_expert(s, expert, up.data(), down.data());
  const Row h = product(x, up.data(), s.hidden, 2 * s.inner);
  Row result(s.hidden);
  for (std::int64_t i = 0; i < s.inner; ++i) {
    const double value = h.value[at(i)], gate = h.value[at(s.inner + i)];
    const double silu = gate / (1 + std::exp(-gate));
    const double a = value * silu;
    const double off = kUnit * std::abs(a) + 1.1 * std::abs(value) * h.bound[at(s.inner + i)] +
                       std::abs(silu) * h.bound[at(i)] +
                       static_cast<double>(s.inner) * kFloatUnit * std::abs(a);
    for (std::int64_t j = 0; j < s.hidden; ++j) {
      const double w = real(down[at(i * s.hidden + j)]);
      result.value[at(j)] += a * w;
      result.bound[at(j)] += std::abs(w) * off;
    }
  }
  for (std::size_t j = 0; j < result.value.size(); ++j)
    result.bound[j] += kUnit * (std::abs(result.value[j]) + result.bound[j]);
  return result;
}

double norm(const std::uint16_t* row, std::int64_t n) {
  double squares = 0;
  for (std::int64_t j = 0; j < n; ++j) squares += real(row[j]) * real(row[j]);
  return std::sqrt(squares);
}

double distance(const std::uint16_t* a, const std::uint16_t* b, std::int64_t n) {
  double squares = 0;
  for (std::int64_t j = 0; j < n; ++j) squares += std::pow(real(a[j]) - real(b[j]), 2);
  return std::sqrt(squares);
}

}  // namespace

void fill_expert(const MoeSizes& sizes, std::int64_t expert, std::uint16_t* up,
                 std::uint16_t* down) {
  // The products of random values keep the size of a token.
  Random random(1, static_cast<int>(expert), 0);
  const auto range = [](std::int64_t k) { return 2 / std::sqrt(static_cast<double>(k)); };
  fill_floats(random, DType::kBFloat16, -range(sizes.hidden), range(sizes.hidden),
              2 * sizes.hidden * sizes.inner, up);
  fill_floats(random, DType::kBFloat16, -range(sizes.inner), range(sizes.inner),
              sizes.inner * sizes.hidden, down);
}

double gate_error(const MoeSizes& sizes, const MoeToken& token) {
  const Row logits = product(token.x, token.router, sizes.hidden, sizes.experts);
  double sum = 0, off = 0, least = std::numeric_limits<double>::infinity();
  const auto bound = [&](std::size_t e) {
    return kUnit * std::abs(logits.value[e]) + logits.bound[e];
  };
  for (std::size_t e = 0; e < logits.value.size(); ++e) {
    sum += std::exp(logits.value[e]);
    off = std::max(off, bound(e));
  }
  double worst = 0;
  std::vector<bool> chosen(logits.value.size());
  for (std::int64_t k = 0; k < sizes.top_k; ++k) {
    const std::size_t e = at(token.ids[k]);
    chosen[e] = true;
    least = std::min(least, logits.value[e] + bound(e));
    // What is off by d in the exponent above and below the line is off by a factor of exp(2 d).
    const double want = std::exp(logits.value[e]) / sum;
    worst = std::max(worst, share(token.scales[k], want, want * (std::expm1(2 * off) + 1e-5)));
  }
  for (std::size_t e = 0; e < chosen.size(); ++e)
    if (!chosen[e] && logits.value[e] - bound(e) > least) return 2;
  return worst;
}

double token_error(const MoeSizes& sizes, const MoeToken& token) {
  Row f(sizes.hidden);
  const auto add = [&](const Row& row, double weight) {
    for (std::size_t j = 0; j < f.value.size(); ++j) {
      const double term = weight * row.value[j];
      f.value[j] += term;
      f.bound[j] += std::abs(weight) * row.bound[j] + 16 * kFloatUnit * std::abs(term);
    }
  };
  for (std::int64_t k = 0; k < sizes.top_k; ++k)
    add(expert_row(sizes, token.ids[k], token.x), token.scales[k]);
  add(expert_row(sizes, sizes.experts, token.x), 1);
  double squares = 0, off = 0;
  for (std::size_t j = 0; j < f.value.size(); ++j) {
    f.value[j] += real(token.residual[j]);
    squares += f.value[j] * f.value[j];
    off += f.bound[j] * f.bound[j];
  }
  // What all elements are off changes the root of their mean square by no more than its own norm.
  const double rstd = 1 / std::sqrt(squares / static_cast<double>(sizes.hidden) + kMoeEpsilon);
  const double rstd_off = std::sqrt(off / squares) + 1e-5;
  double worst = 0;
  for (std::size_t j = 0; j < f.value.size(); ++j) {
    const double factor = rstd * real(token.gamma[j]), want = f.value[j] * factor;
    worst = std::max(worst, share(real(token.sum[j]), f.value[j],
                                  f.bound[j] + kUnit * (std::abs(f.value[j]) + f.bound[j])));
    worst = std::max(worst, share(real(token.y[j]), want,
                                  1.01 * std::abs(factor) * f.bound[j] +
                                      std::abs(want) * (1.01 * rstd_off + 2 * kUnit) + 1e-30));
  }
  return worst;
}

// With s the weighted sum: the separate steps round s and s + shared, both round f. s and s +
// shared are at most as long as what was added to them later and f together. y is f made as long as
// sqrt(hidden), rounded twice.
double difference(std::int64_t hidden, const MoeRowPair& row) {
  const double f = norm(row.sum, hidden), residual = norm(row.residual, hidden);
  const double shared = norm(row.shared, hidden);
  const double sum_bound = kUnit * ((f + residual + shared) + (f + residual) + 2 * f);
  double gamma = 0;
  for (std::int64_t j = 0; j < hidden; ++j) gamma = std::max(gamma, std::abs(real(row.gamma[j])));
  const double length = gamma * std::sqrt(static_cast<double>(hidden));
  const double y_bound =
      1.01 * length * sum_bound / (f - sum_bound) + 4 * kUnit * norm(row.y, hidden);
  return std::max(share(distance(row.sum, row.separate_sum, hidden), 0, sum_bound),
                  share(distance(row.y, row.separate_y, hidden), 0, y_bound));
}

}  // namespace weft::tools
