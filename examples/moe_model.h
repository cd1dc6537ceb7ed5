// SPDX-License-Identifier: Apache-2.0
// The mixture-of-experts layer that two examples compute, and its result in plain loops and double
// precision with a bound of what bfloat16 may differ from it. C++14, for programs written for CANN.
//
//   router  p = softmax(x · router), the top_k largest with their experts
//   P_e     = a · down_e, where a = silu(x · up_e), or with a gate left half · silu(right half)
//   f       = sum of p_e · P_e(x) over the top_k + P_shared(x) + residual
//   y       = f / sqrt(mean(f^2) + epsilon) · gamma
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

namespace moe {

constexpr double kEpsilon = 1e-6;
// Half the distance from 1 to the next number, and a little for what is of second order.
constexpr double kUnit = 1.01 / 256, kFloatUnit = 1.01 / (1 << 24);

// A bfloat16 is the upper half of a float.
using Values = std::vector<std::uint16_t>;
inline double real(std::uint16_t bits) {
  const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}
inline Values random_values(unsigned seed, std::int64_t count, float most) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-most, most);
  Values values(static_cast<std::size_t>(count));
  for (std::uint16_t& bits : values) {
    const float value = uniform(random);
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    bits = static_cast<std::uint16_t>(word >> 16);
  }
  return values;
}

struct Sizes {
  std::int64_t tokens, hidden, inner;  // tokens of one rank
  std::int64_t experts, top_k;
  bool gate;  // the activation has one

  std::int64_t up_columns() const { return gate ? 2 * inner : inner; }
};

/// Numbers that are not exact: how far they may be off.
struct Row {
  std::vector<double> value, bound;
  explicit Row(std::int64_t n)
      : value(static_cast<std::size_t>(n), 0), bound(static_cast<std::size_t>(n), 0) {}
};

/// What all ranks know. A rank passes the weights of its own experts to the operators; the others
/// are for the check.
struct Model {
  Sizes sizes;
  // (experts + 1, hidden, up_columns) and (experts + 1, inner, hidden): the last one is shared.
  Values up, down;
  Values router, gamma;  // (hidden, experts), (hidden)

  explicit Model(const Sizes& s)
      : sizes(s),
        up(random_values(1, (s.experts + 1) * s.hidden * s.up_columns(), 0.2f)),
        down(random_values(2, (s.experts + 1) * s.inner * s.hidden, 0.2f)),
        router(random_values(3, s.hidden * s.experts, 0.3f)),
        gamma(random_values(4, s.hidden, 1)) {}

  const std::uint16_t* up_of(std::int64_t expert) const {
    return up.data() + expert * sizes.hidden * sizes.up_columns();
  }
  const std::uint16_t* down_of(std::int64_t expert) const {
    return down.data() + expert * sizes.inner * sizes.hidden;
  }
  Values tokens_of(int rank) const {
    return random_values(100 + static_cast<unsigned>(rank), sizes.tokens * sizes.hidden, 1);
  }
  Values residual_of(int rank) const {
    return random_values(200 + static_cast<unsigned>(rank), sizes.tokens * sizes.hidden, 1);
  }
};

/// The scores of a token for each expert, which the softmax takes.
inline std::vector<float> logits(const Model& model, const std::uint16_t* x) {
  const std::int64_t experts = model.sizes.experts;
  std::vector<float> scores;
  for (std::int64_t e = 0; e < experts; ++e) {
    double sum = 0;
    for (std::int64_t k = 0; k < model.sizes.hidden; ++k)
      sum += real(x[k]) * real(model.router[static_cast<std::size_t>(k * experts + e)]);
    scores.push_back(static_cast<float>(sum));
  }
  return scores;
}

/// The top_k experts of a token, the best first, and the weights of all.
struct Choice {
  std::vector<std::int32_t> experts;
  std::vector<double> weights;
};
inline Choice choose(const std::vector<float>& scores, std::int64_t top_k) {
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (float score : scores) sum += std::exp(score - most);
  Choice choice;
  for (std::size_t e = 0; e < scores.size(); ++e) {
    choice.experts.push_back(static_cast<std::int32_t>(e));
    choice.weights.push_back(std::exp(scores[e] - most) / sum);
  }
  std::stable_sort(
      choice.experts.begin(), choice.experts.end(), [&](std::int32_t a, std::int32_t b) {
        return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
      });
  choice.experts.resize(static_cast<std::size_t>(top_k));
  return choice;
}

/// x · up_e in double. Its bound: a float sum of `hidden` terms.
inline Row project(const Model& model, std::int64_t expert, const std::uint16_t* x) {
  const std::int64_t columns = model.sizes.up_columns(), hidden = model.sizes.hidden;
  Row h(columns);
  for (std::int64_t k = 0; k < hidden; ++k)
    for (std::int64_t n = 0; n < columns; ++n) {
      const double term = real(x[k]) * real(model.up_of(expert)[k * columns + n]);
      h.value[static_cast<std::size_t>(n)] += term;
      h.bound[static_cast<std::size_t>(n)] +=
          static_cast<double>(hidden) * kFloatUnit * std::abs(term);
    }
  return h;
}

/// What expert `expert` makes of a token. The activation is rounded to bfloat16, and so is the
/// result; silu's slope is below 1.1.
inline Row run_expert(const Model& model, std::int64_t expert, const std::uint16_t* x) {
  const Sizes& s = model.sizes;
  const Row h = project(model, expert, x);
  Row result(s.hidden);
  for (std::int64_t n = 0; n < s.inner; ++n) {
    const std::size_t left = static_cast<std::size_t>(n);
    const std::size_t gate = static_cast<std::size_t>(s.gate ? s.inner + n : n);
    const double silu = h.value[gate] / (1 + std::exp(-h.value[gate]));
    const double value = s.gate ? h.value[left] : 1;
    const double a = value * silu;
    const double a_bound = kUnit * std::abs(a) + 1.1 * std::abs(value) * h.bound[gate] +
                           (s.gate ? std::abs(silu) * h.bound[left] : 0);
    for (std::int64_t j = 0; j < s.hidden; ++j) {
      const double w = real(model.down_of(expert)[n * s.hidden + j]);
      result.value[static_cast<std::size_t>(j)] += a * w;
      result.bound[static_cast<std::size_t>(j)] +=
          std::abs(w) * (a_bound + static_cast<double>(s.inner) * kFloatUnit * std::abs(a));
    }
  }
  for (std::size_t j = 0; j < result.value.size(); ++j)
    result.bound[j] += kUnit * (std::abs(result.value[j]) + result.bound[j]);
  return result;
}

/// f of one token, before it is rounded. The weights and the sum are float.
inline Row expected_sum(const Model& model, const std::uint16_t* x, const std::uint16_t* residual) {
  Row f(model.sizes.hidden);
  const auto add = [&](const Row& row, double weight) {
    for (std::size_t j = 0; j < f.value.size(); ++j) {
      const double term = weight * row.value[j];
      f.value[j] += term;
      f.bound[j] += std::abs(weight) * row.bound[j] + 32 * kFloatUnit * std::abs(term);
    }
  };
  const Choice choice = choose(logits(model, x), model.sizes.top_k);
  for (std::int32_t e : choice.experts)
    add(run_expert(model, e, x), choice.weights[static_cast<std::size_t>(e)]);
  add(run_expert(model, model.sizes.experts, x), 1);
  for (std::size_t j = 0; j < f.value.size(); ++j) f.value[j] += real(residual[j]);
  return f;
}

/// True if `sum` is f rounded once and `y` its norm, which rounds twice more. What all elements of
/// f are off changes the mean of their squares by no more than its own norm.
inline bool is_right(const Model& model, const Row& f, const std::uint16_t* sum,
                     const std::uint16_t* y) {
  double squares = 0, off = 0;
  for (std::size_t j = 0; j < f.value.size(); ++j) {
    squares += f.value[j] * f.value[j];
    off += f.bound[j] * f.bound[j];
  }
  const double rstd = 1 / std::sqrt(squares / static_cast<double>(f.value.size()) + kEpsilon);
  const double rstd_off = 1.01 * std::sqrt(off / squares) + 1e-5;
  for (std::size_t j = 0; j < f.value.size(); ++j) {
    const double want = f.value[j] * rstd * real(model.gamma[j]);
    const double f_off = f.bound[j] + kUnit * (std::abs(f.value[j]) + f.bound[j]);
    const double y_off = std::abs(rstd * real(model.gamma[j])) * 1.01 * f.bound[j] +
                         std::abs(want) * (1.01 * rstd_off + 2 * kUnit) + 1e-30;
    if (std::abs(real(sum[j]) - f.value[j]) <= f_off && std::abs(real(y[j]) - want) <= y_off)
      continue;
    std::printf("element %d: the sum is %g, not %g; y is %g, not %g\n", static_cast<int>(j),
                real(sum[j]), f.value[j], real(y[j]), want);
    return false;
  }
  return true;
}

/// Every token of a rank.
inline bool is_right(const Model& model, int rank, const Values& sum, const Values& y) {
  const Values x = model.tokens_of(rank), residual = model.residual_of(rank);
  for (std::int64_t t = 0; t < model.sizes.tokens; ++t) {
    const std::int64_t at = t * model.sizes.hidden;
    if (is_right(model, expected_sum(model, x.data() + at, residual.data() + at), sum.data() + at,
                 y.data() + at))
      continue;
    std::printf("rank %d, token %d\n", rank, static_cast<int>(t));
    return false;
  }
  return true;
}

}  // namespace moe
