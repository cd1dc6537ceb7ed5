// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_init_routing/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace weft::ops {
namespace {

struct Pair {
  std::int64_t id, place;
};

std::int64_t number_at(const ConstTensorRef& t, std::int64_t i, std::int64_t j) {
  return static_cast<std::int64_t>(element_value(t, i * t.stride(0) + j * t.stride(1)));
}

bool same_row(const ConstTensorRef& a, std::int64_t row_of_a, const ConstTensorRef& b,
              std::int64_t row_of_b) {
  const std::int64_t size = bytes_of(a.dtype(), 1);
  const auto* p = static_cast<const std::byte*>(a.data());
  const auto* q = static_cast<const std::byte*>(b.data());
  for (std::int64_t h = 0; h < a.dim(1); ++h)
    if (std::memcmp(p + size * (row_of_a * a.stride(0) + h * a.stride(1)),
                    q + size * (row_of_b * b.stride(0) + h * b.stride(1)),
                    static_cast<std::size_t>(size)) != 0)
      return false;
  return true;
}

}  // namespace

RowError check_all(const MoeInitRoutingArgs& a) {
  RowError error;
  const auto must = [&error](bool holds, std::string_view what) {
    error.add(holds ? 0 : HUGE_VAL, what);
  };
  const std::int64_t n = a.expert_idx.dim(0), k = a.expert_idx.dim(1);
  std::vector<Pair> pairs;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < k; ++j)
      pairs.push_back({number_at(a.expert_idx, i, j), number_at(a.row_idx, i, j)});
  std::ranges::stable_sort(pairs, {}, &Pair::id);
  const ConstTensorRef ids = a.expanded_expert_idx, rows = a.expanded_row_idx, x = a.expanded_x;
  for (std::int64_t i = 0; i < std::ssize(pairs); ++i) {
    const auto [id, place] = pairs[static_cast<std::size_t>(i)];
    must(element_value(ids, i) == static_cast<double>(id), "expanded_expert_idx");
    must(element_value(rows, place) == static_cast<double>(i), "expanded_row_idx");
    if (i < x.dim(0)) must(same_row(x, i, a.x, place % n), "expanded_x");
  }
  return error;
}

}  // namespace weft::ops
