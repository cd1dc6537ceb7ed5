// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_init_routing/contract.h"

#include <algorithm>
#include <array>
#include <limits>

#include "ops/moe_routing/row_input.h"

namespace weft::ops {
namespace {

using Args = MoeInitRoutingArgs;
constexpr std::int64_t kMostIndex = std::numeric_limits<std::int32_t>::max();

std::array<NamedTensor, 6> named_tensors(const Args& a) {
  return {{{"x", a.x},
           {"row_idx", a.row_idx},
           {"expert_idx", a.expert_idx},
           {"expanded_x", a.expanded_x},
           {"expanded_row_idx", a.expanded_row_idx},
           {"expanded_expert_idx", a.expanded_expert_idx}}};
}

void check_dtypes(Contract& c, const Args& a) {
  c.rule(Rule::kDtype, is_float(a.x.dtype()), "x is {} but must be float16, bfloat16 or float32",
         to_string(a.x.dtype()));
  c.rule(Rule::kDtype, a.expanded_x.dtype() == a.x.dtype(),
         "expanded_x is {} but must be {} like x", to_string(a.expanded_x.dtype()),
         to_string(a.x.dtype()));
  for (const auto& [name, tensor] : named_tensors(a))
    c.rule(Rule::kDtype, name == "x" || name == "expanded_x" || tensor.dtype() == DType::kInt32,
           "{} is {} but must be int32", name, to_string(tensor.dtype()));
  for (const auto& [name, tensor] : named_tensors(a))
    c.rule(Rule::kFormat, tensor.format() == Format::kStrided,
           "{} is FRACTAL_NZ but must lie as its strides say", name);
}

void check_ranks(Contract& c, const Args& a) {
  const auto rank = [&c](std::string_view name, const ConstTensorRef& tensor, int want,
                         std::string_view axes) {
    c.rule(Rule::kRank, tensor.rank() == want, "{} is {} but must have {} axes, {}", name,
           shape_text(tensor), want, axes);
  };
  rank("x", a.x, 2, "(n, H)");
  rank("row_idx", a.row_idx, 2, "(n, K)");
  rank("expert_idx", a.expert_idx, 2, "(n, K)");
  rank("expanded_x", a.expanded_x, 2, "(min(active_num, n)·K, H)");
  for (const auto& [name, tensor] : {NamedTensor{"expanded_row_idx", a.expanded_row_idx},
                                     NamedTensor{"expanded_expert_idx", a.expanded_expert_idx}})
    c.rule(Rule::kRank, tensor.rank() == 1, "{} is {} but must have 1 axis, (n·K)", name,
           shape_text(tensor));
}

void check_shapes(Contract& c, const Args& a) {
  const std::int64_t n = a.x.dim(0), h = a.x.dim(1), k = a.expert_idx.dim(1);
  c.rule(Rule::kShape, a.expert_idx.dim(0) == n,
         "expert_idx is {} but must have {} rows like x, which is {}", shape_text(a.expert_idx), n,
         shape_text(a.x));
  c.rule(Rule::kShape, std::ranges::equal(a.row_idx.dims(), a.expert_idx.dims()),
         "row_idx is {} but must be {} like expert_idx", shape_text(a.row_idx),
         shape_text(a.expert_idx));
  c.rule(Rule::kLimit, a.active_num >= 0, "active_num is {} but must be 0 or more", a.active_num);
  c.rule(Rule::kLimit, a.expert_idx.elements() <= kMostIndex,
         "expert_idx is {}, more than {} numbers; make several calls", shape_text(a.expert_idx),
         kMostIndex);
  if (!c.status().ok()) return;
  const std::int64_t rows = std::min(a.active_num, n) * k;
  c.rule(Rule::kShape, a.expanded_x.dim(0) == rows && a.expanded_x.dim(1) == h,
         "expanded_x is {} but must be ({}, {}): min(active_num, n) = {} times K = {} rows of x",
         shape_text(a.expanded_x), rows, h, std::min(a.active_num, n), k);
  for (const auto& [name, tensor] : {NamedTensor{"expanded_row_idx", a.expanded_row_idx},
                                     NamedTensor{"expanded_expert_idx", a.expanded_expert_idx}})
    c.rule(Rule::kShape, tensor.dim(0) == n * k,
           "{} is {} but must be ({}), a number for each of expert_idx, which is {}", name,
           shape_text(tensor), n * k, shape_text(a.expert_idx));
}

}  // namespace

Status check_plan(const Args& a) {
  Contract c(kMoeInitRouting);
  const auto all = named_tensors(a);
  for (const auto& [name, tensor] : all)
    c.rule(Rule::kMissing, tensor.given(), "{} is missing", name);
  if (c.ok()) check_dtypes(c, a);
  if (c.ok()) check_extents(c, all);
  if (c.ok()) check_ranks(c, a);
  if (c.ok()) check_addressable(c, all);
  if (c.ok() && c.status().ok()) check_shapes(c, a);
  if (c.ok()) {
    check_output_rows(c, {"expanded_x", a.expanded_x}, 1);
    check_output_rows(c, {"expanded_row_idx", a.expanded_row_idx}, 0);
    check_output_rows(c, {"expanded_expert_idx", a.expanded_expert_idx}, 0);
  }
  return c.status();
}

Status check_run(const Args& planned, const Args& a) {
  Contract c(kMoeInitRouting);
  const auto now = named_tensors(a);
  check_as_planned(c, named_tensors(planned), now);
  c.rule(a.active_num == planned.active_num, "active_num is {} but {} was planned; plan again",
         a.active_num, planned.active_num);
  for (std::size_t i = 3; i < now.size(); ++i) check_apart(c, now[i], now);
  return c.status();
}

Status check_row_idx(const std::int32_t* row_idx, std::int64_t count) {
  Contract c(kMoeInitRouting);
  const auto* const wrong = std::find_if(row_idx, row_idx + count, [count](std::int32_t value) {
    return value < 0 || value >= count;
  });
  if (wrong != row_idx + count)
    c.rule(false,
           "row_idx has {} as its number {} but must have numbers from 0 to {}, places in "
           "expanded_row_idx; pass the row_idx of moe_gating_topk_softmax",
           *wrong, wrong - row_idx, count - 1);
  return c.status();
}

}  // namespace weft::ops
