// SPDX-License-Identifier: Apache-2.0
#include "ops/ffn/reference.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/activation/reference.h"
#include "ops/dense.h"
#include "ops/ffn/activation.h"
#include "ops/ffn/contract.h"
#include "ops/reference_weight.h"

namespace weft::ops {
namespace {

namespace reference = activation::reference;
using activation::Function;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Interval {
  double lo, hi;

  double width() const { return lo == hi ? 0 : hi - lo; }  // also of two infinities
  double middle() const { return lo == hi ? lo : (lo + hi) / 2; }
  double largest() const { return std::max(std::fabs(lo), std::fabs(hi)); }
  /// One value, or finite ones.
  bool known() const {
    return lo == hi || (std::isnan(lo) && std::isnan(hi)) ||
           (std::isfinite(lo) && std::isfinite(hi));
  }
};
constexpr Interval kUnknown = {-HUGE_VAL, HUGE_VAL};

Interval hull(std::initializer_list<double> values) {
  const auto is_nan = [](double value) { return std::isnan(value); };
  if (std::ranges::all_of(values, is_nan)) return {kNan, kNan};
  if (std::ranges::any_of(values, is_nan)) return kUnknown;
  return {std::min(values), std::max(values)};
}
/// A monotone function of all values of an interval.
template <typename Function>
Interval of_ends(Interval x, const Function& function) {
  return hull({function(x.lo), function(x.hi)});
}

double fp32(double value) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  if (std::fabs(value) >= kLargest + 0x1p103) return std::copysign(HUGE_VAL, value);
  return static_cast<float>(value);
}
double fp16(double value) { return round_to(DType::kFloat16, value); }

// What a row of the table in ffn.h rounds, and how.
struct Roundings {
  DType type;         // T
  Scenario scenario;  // kQuant: a is quantised, and its own rounding is to float16
  bool steps;         // h is rounded to T, and a to even

  double h(double value) const { return steps ? round_to(type, value) : value; }
  double a(double value) const {
    if (scenario == Scenario::kQuant) return fp16(value);
    return steps ? round_to(type, value) : reference::round_half_away(type, value);
  }
};
Roundings roundings_of(const FfnArgs& args) {
  const DType type = args.y.dtype();
  const Scenario scenario = scenario_of(args);
  const bool steps =
      type == DType::kFloat16 &&
      (scenario != Scenario::kFloat || args.inner_precise == InnerPrecise::kHighPerformance);
  return {type, scenario, steps};
}

// The operands of one product of one expert.
struct Product {
  ReferenceWeight weight;
  ConstTensorRef bias, deq_scale;
  std::int64_t k, n;

  double bias_at(std::int64_t j) const {
    return bias.given() ? element_value(bias, j * bias.stride(0)) : 0.0;
  }
  /// int8 · int8: of the upper 19 bits of the fp32 scale, or all that bfloat16 has.
  double dequantised(std::int32_t sum, std::int64_t j) const {
    auto scale = static_cast<float>(element_value(deq_scale, j * deq_scale.stride(0)));
    if (deq_scale.dtype() != DType::kBFloat16)
      scale = std::bit_cast<float>(std::bit_cast<std::uint32_t>(scale) & 0xffffe000u);
    return static_cast<float>(sum) * scale;
  }
};

/// What an operand has for one expert: without its first axis, if experts have one.
ConstTensorRef of_expert(const ConstTensorRef& t, bool has_experts, std::int64_t expert) {
  return t.given() && has_experts ? slice(t, expert) : t;
}

Product product_of(const FfnArgs& a, bool first, std::int64_t expert) {
  const FfnShape s = shape_of(a);
  const auto own = [&](const ConstTensorRef& one, const ConstTensorRef& two) {
    return of_expert(first ? one : two, s.has_experts(), expert);
  };
  const std::int64_t k = first ? s.k1 : s.k2;
  const ConstTensorRef scale = own(a.antiquant_scale1, a.antiquant_scale2);
  const std::int64_t groups = scale.rank() == 2 ? scale.dim(0) : 1;
  return {.weight = {.weight = own(a.weight1, a.weight2),
                     .scale = scale,
                     .offset = own(a.antiquant_offset1, a.antiquant_offset2),
                     .group_rows = k / groups,
                     .restored = a.x.dtype()},
          .bias = own(a.bias1, a.bias2),
          .deq_scale = own(a.deq_scale1, a.deq_scale2),
          .k = k,
          .n = first ? s.n1 : s.n2};
}

/// A column of a · W + b, both ends, and the sum of its terms' largest absolute values.
struct Sum {
  double lo = 0, hi = 0, magnitude = 0;
  void add(Interval a, double weight) {
    const double one = a.lo * weight, other = a.hi * weight;
    lo += std::min(one, other), hi += std::max(one, other);
    if (std::isnan(one)) lo = hi = kNan;
    magnitude += a.largest() * std::fabs(weight);
  }
};
std::vector<Sum> sums(const std::vector<Interval>& a, const Product& product) {
  std::vector<Sum> result(static_cast<std::size_t>(product.n));
  for (std::int64_t j = 0; j < product.n; ++j) {
    const double bias = product.bias_at(j);
    result[static_cast<std::size_t>(j)] = {bias, bias, std::fabs(bias)};
  }
  for (std::int64_t p = 0; p < product.k; ++p)
    for (std::int64_t j = 0; j < product.n; ++j)
      result[static_cast<std::size_t>(j)].add(a[static_cast<std::size_t>(p)],
                                              product.weight.value(p, j));
  return result;
}

// Sums of int8 products and an int32 bias wrap as int32 does.
std::int32_t wrapped(double sum) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(static_cast<std::int64_t>(sum)));
}
/// Unknown if int32 wraps at one end and not at the other.
Interval dequantised(const Sum& sum, const Product& product, std::int64_t j) {
  const std::int32_t lo = wrapped(sum.lo), hi = wrapped(sum.hi);
  if (static_cast<double>(hi) - lo != sum.hi - sum.lo) return kUnknown;
  return hull({product.dequantised(lo, j), product.dequantised(hi, j)});
}

/// By how much fp32 sums of k products and a bias may be off; what bfloat16 kernels take for zero
/// in it.
double sum_error(const Sum& sum, const Product& product, DType type) {
  return static_cast<double>(product.k + 2) * 0x1p-24 * sum.magnitude +
         (type == DType::kBFloat16 ? 0x1p-120 : 0);
}

std::vector<Interval> first_product(const FfnArgs& args, const Roundings& round,
                                    std::int64_t expert, std::int64_t row) {
  const Product product = product_of(args, true, expert);
  const std::int64_t begin = row_index(args.x, row), step = args.x.stride(args.x.rank() - 1);
  std::vector<Interval> x;
  for (std::int64_t p = 0; p < product.k; ++p) {
    const double value = element_value(args.x, begin + p * step);
    x.push_back({value, value});
  }
  std::vector<Interval> h;
  for (const Sum& sum : sums(x, product)) {
    if (round.scenario == Scenario::kQuant) {
      h.push_back(dequantised(sum, product, std::ssize(h)));
    } else {
      const double error = std::isfinite(sum.lo) ? sum_error(sum, product, round.type) : 0;
      h.push_back(of_ends({sum.lo - error, sum.hi + error}, fp32));
    }
    h.back() = of_ends(h.back(), [&](double value) { return round.h(value); });
  }
  return h;
}

Interval activated(Function f, Interval v) {
  Interval result = of_ends(v, [&](double value) { return reference::value(f, value); });
  if (!result.known() || !std::isfinite(result.lo)) return result;
  const double error = std::max(reference::error(f, v.lo), reference::error(f, v.hi));
  // Not monotone, but |f''| < 1: between the ends f leaves what lies between its values there by at
  // most width² / 8.
  const double bend = f == Function::kRelu ? 0 : v.width() * v.width() / 8;
  return {result.lo - error - bend, result.hi + error + bend};
}

/// a of the whole row.
std::vector<Interval> activations(const FfnArgs& args, const FfnOptions& options,
                                  const Roundings& round, const std::vector<Interval>& h) {
  const bool gated = has_gate(args.activation);
  const std::size_t n = gated ? h.size() / 2 : h.size();
  const std::size_t value_at = options.gate_is_left ? n : 0, gate_at = n - value_at;
  std::vector<Interval> a;
  for (std::size_t i = 0; i < n; ++i) {
    Interval result = activated(function_of(args.activation), h[gated ? gate_at + i : i]);
    if (gated) {
      const Interval v = h[value_at + i], f = result;
      result = hull({v.lo * f.lo, v.lo * f.hi, v.hi * f.lo, v.hi * f.hi});
      result = of_ends(result, fp32);
    }
    a.push_back(of_ends(result, [&](double value) { return round.a(value); }));
  }
  return a;
}

std::vector<Interval> quantised(const FfnArgs& args, std::int64_t expert,
                                const std::vector<Interval>& a) {
  const bool has_experts = shape_of(args).has_experts();
  const ConstTensorRef scale = of_expert(args.scale, has_experts, expert);
  const auto through_fp16 = [](const ConstTensorRef& t, std::int64_t index) {
    return static_cast<float>(fp16(element_value(t, index)));
  };
  const float offset = through_fp16(of_expert(args.offset, has_experts, expert), 0);
  std::vector<Interval> q;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const std::int64_t at =
        scale.elements() == 1 ? 0 : static_cast<std::int64_t>(i) * scale.stride(0);
    const float factor = through_fp16(scale, at);
    q.push_back(of_ends(a[i], [&](double value) -> double {
      return reference::quantise(static_cast<float>(value), factor, offset);
    }));
    if (!a[i].known()) q.back() = kUnknown;
  }
  return q;
}

/// Like share_of_bound where any value of the interval is right.
double share_of_interval(double got, Interval want) {
  if (!want.known()) return 0;
  if (got == want.lo || (std::isnan(got) && std::isnan(want.lo))) return want.width() > 0 ? 1 : 0;
  const double share = std::fabs(got - want.middle()) / (want.width() / 2);
  return std::isnan(share) ? HUGE_VAL : share;
}

}  // namespace

std::int64_t expert_of_row(const FfnArgs& args, std::int64_t row) {
  if (!args.expert_tokens.given()) return 0;
  const auto* tokens = static_cast<const std::byte*>(args.expert_tokens.data());
  std::int64_t end = 0;
  for (std::int64_t e = 0; e < args.expert_tokens.dim(0); ++e) {
    std::int64_t value = 0;
    std::memcpy(&value, tokens + e * args.expert_tokens.stride(0) * 8, sizeof(value));
    end = args.tokens_are_ends ? value : end + value;
    if (row < end) return e;
  }
  return -1;
}

RowError check_row(const FfnArgs& args, const FfnOptions& options, std::int64_t row) {
  RowError error;
  const std::int64_t expert = expert_of_row(args, row);
  if (expert < 0) return error;
  const Roundings round = roundings_of(args);
  std::vector<Interval> a =
      activations(args, options, round, first_product(args, round, expert, row));
  const bool quant = round.scenario == Scenario::kQuant;
  if (quant) a = quantised(args, expert, a);
  if (!std::ranges::all_of(a, &Interval::known)) return error;

  const Product product = product_of(args, false, expert);
  const ConstTensorRef y = args.y;
  const std::int64_t begin = row_index(y, row), step = y.stride(y.rank() - 1);
  const double u = info(round.type).unit_roundoff;
  const std::vector<Sum> results = sums(a, product);
  for (std::int64_t j = 0; j < product.n; ++j) {
    const Sum& sum = results[static_cast<std::size_t>(j)];
    const double got = element_value(y, begin + j * step);
    if (quant) {
      const Interval want = of_ends(dequantised(sum, product, j),
                                    [&](double value) { return round_to(round.type, value); });
      error.add(share_of_interval(got, want), "y");
    } else if (product.k == 0) {
      const double want = round.type == DType::kFloat16
                              ? fp16(sum.lo)
                              : reference::round_half_away(round.type, sum.lo);
      error.add(share_of_interval(got, {want, want}), "y");
    } else {
      const Interval ends = {sum.lo, sum.hi};
      const double e = ends.width() / 2 + sum_error(sum, product, round.type);
      const double bound = u * (std::fabs(ends.middle()) + e) + e + subnormal_slack(round.type);
      error.add(share_of_bound(got, ends.middle(), bound, largest_finite(round.type)), "y");
    }
  }
  return error;
}

}  // namespace weft::ops
