// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_finalize_routing/reference.h"

#include <cmath>
#include <optional>

#include "ops/moe_finalize_routing/contract.h"

namespace weft::ops {
namespace {

// After an operation of the tensor's own arithmetic: of float16, else of fp32.
double step(DType type, double exact) {
  return type == DType::kFloat16 ? round_to(type, exact)
                                 : static_cast<double>(static_cast<float>(exact));
}

std::int64_t index_at(const ConstTensorRef& t, std::int64_t i, std::int64_t j) {
  return i * t.stride(0) + j * t.stride(1);
}

// Element h of scales[i, j] · (expanded_x[r] + bias), or nothing.
std::optional<double> term(const MoeFinalizeRoutingArgs& a, const FinalizeShape& s, std::int64_t i,
                           std::int64_t j, std::int64_t h) {
  const DType type = a.expanded_x.dtype();
  const ConstTensorRef &x = a.expanded_x, &places = a.expanded_row_idx;
  const auto r = static_cast<std::int64_t>(
      element_value(places, place_of(s, a.order, i, j) * places.stride(0)));
  if (r < 0) return std::nullopt;
  const int last = x.rank() - 1;
  double t = element_value(x, row_start(x, last, r) + h * x.stride(last));
  if (a.bias.given()) {
    const auto e =
        static_cast<std::int64_t>(element_value(a.expert_idx, index_at(a.expert_idx, i, j)));
    t = step(type, t + element_value(a.bias, index_at(a.bias, e, h)));
  }
  if (a.scales.given()) t = step(type, t * element_value(a.scales, index_at(a.scales, i, j)));
  return t;
}

}  // namespace

RowError check_row(const MoeFinalizeRoutingArgs& a, std::int64_t row) {
  RowError error;
  const DType type = a.expanded_x.dtype();
  const FinalizeShape s = shape_of(a);
  const ConstTensorRef out = a.out;
  for (std::int64_t h = 0; h < s.h; ++h) {
    std::optional<double> sum;
    const auto add = [&](std::optional<double> x) {
      if (x) sum = sum ? step(type, *sum + *x) : *x;
    };
    if (a.x1.given()) add(element_value(a.x1, index_at(a.x1, row, h)));
    if (a.x2.given()) add(element_value(a.x2, index_at(a.x2, row, h)));
    for (std::int64_t j = 0; j < s.k; ++j) add(term(a, s, row, j, h));
    const double exact = sum.value_or(0);
    const double want = type == DType::kBFloat16 ? round_to(type, exact) : exact;
    const double got = element_value(out, index_at(out, row, h));
    const bool same =
        std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want);
    error.add(same ? 0 : HUGE_VAL, "out");
  }
  return error;
}

}  // namespace weft::ops
