// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_routing/contract.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

namespace weft::ops {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
// A count for each travels with every call.
constexpr std::int64_t kMostExperts = 65536;

struct Number {
  std::string_view name;
  std::int64_t value;
};
std::array<Number, 6> numbers_of(const MoeExperts& e) {
  return {{{"moe_expert_num", e.moe_expert_num},
           {"shared_expert_num", e.shared_expert_num},
           {"shared_expert_rank_num", e.shared_expert_rank_num},
           {"zero_expert_num", e.zero_expert_num},
           {"copy_expert_num", e.copy_expert_num},
           {"const_expert_num", e.const_expert_num}}};
}

void check_numbers(Contract& c, const MoeExperts& e) {
  for (const auto& [name, number] : numbers_of(e))
    c.rule(Rule::kExperts, number >= 0 && number <= kMost, "{} is {} but must be 0 to {}", name,
           number, kMost);
  if (!c.ok()) return;
  const std::int64_t ids =
      e.moe_expert_num + e.zero_expert_num + e.copy_expert_num + e.const_expert_num;
  c.rule(Rule::kExperts, e.moe_expert_num > 0 && e.moe_expert_num <= kMostExperts,
         "moe_expert_num is {} but must be 1 to {}", e.moe_expert_num, kMostExperts);
  c.rule(Rule::kExperts, e.shared_expert_num <= kMostExperts,
         "shared_expert_num is {} but must be at most {}", e.shared_expert_num, kMostExperts);
  c.rule(Rule::kExperts, ids <= kMost,
         "there are {} experts, special ones included, but ids are int32; have at most {}", ids,
         kMost);
}

}  // namespace

void check_experts(Contract& c, const MoeExperts& e, int ranks, bool tp) {
  check_numbers(c, e);
  if (!c.ok()) return;
  const std::int64_t shared = e.shared_expert_num, on = e.shared_expert_rank_num;
  c.rule(
      Rule::kExperts, on < ranks,
      "shared_expert_rank_num is {} of {} ranks; at least one must be left for the other experts",
      on, ranks);
  c.rule(
      Rule::kExperts, (shared == 0) == (on == 0),
      "shared_expert_num is {} but shared_expert_rank_num is {}; shared experts live on ranks of "
      "their own, so both are 0 or none is",
      shared, on);
  c.rule(Rule::kExperts, shared == 0 || on % shared == 0,
         "shared_expert_rank_num is {} but must be a multiple of shared_expert_num ({})", on,
         shared);
  c.rule(Rule::kExperts, e.shared_tokens == SharedTokens::kBySource || shared <= 1,
         "shared_expert_num is {} but tokens are dealt out by slices to one shared expert only",
         shared);
  c.rule(
      Rule::kExperts, !tp || e.moe_expert_num == ranks - on,
      "moe_expert_num is {} but must be {} with TP: one expert on each rank without a shared one",
      e.moe_expert_num, ranks - on);
}

void check_experts_as_planned(Contract& c, const MoeExperts& planned, const MoeExperts& e) {
  const auto before = numbers_of(planned), now = numbers_of(e);
  for (std::size_t i = 0; i < now.size(); ++i)
    c.rule(now[i].value == before[i].value, "{} is {} but {} was planned; plan again", now[i].name,
           now[i].value, before[i].value);
  const auto text = [](SharedTokens tokens) {
    return tokens == SharedTokens::kBySource ? "by source" : "by slice";
  };
  c.rule(e.shared_tokens == planned.shared_tokens,
         "shared_tokens is {} but {} was planned; plan again", text(e.shared_tokens),
         text(planned.shared_tokens));
}

void check_dtype(Contract& c, std::string_view name, const ConstTensorRef& t, DType dtype) {
  c.rule(Rule::kDtype, !t.given() || t.dtype() == dtype, "{} is {} but must be {}", name,
         to_string(t.dtype()), to_string(dtype));
}

void check_token_dtype(Contract& c, std::string_view name, const ConstTensorRef& t) {
  c.rule(Rule::kDtype, t.dtype() == DType::kFloat16 || t.dtype() == DType::kBFloat16,
         "{} is {} but must be float16 or bfloat16", name, to_string(t.dtype()));
}

void check_axes(Contract& c, std::string_view name, const ConstTensorRef& t, int least, int most) {
  if (!t.given()) return;
  c.rule(Rule::kFormat, t.format() == Format::kStrided, "{} is FRACTAL_NZ; pass it with strides",
         name);
  if (least == most)
    c.rule(Rule::kRank, t.rank() == least, "{} is {} but must have {} axes", name, shape_text(t),
           least);
  else
    c.rule(Rule::kRank, t.rank() >= least && t.rank() <= most,
           "{} is {} but must have {} or {} axes", name, shape_text(t), least, most);
}

void check_limits(Contract& c, std::string_view name, const ConstTensorRef& rows,
                  const ConstTensorRef& expert_ids) {
  constexpr std::int64_t kMostPerToken = 65536;  // experts
  const std::int64_t most = std::max({rows.dim(0), rows.dim(1), expert_ids.dim(0)});
  c.rule(Rule::kLimit, most <= kMost && expert_ids.dim(1) <= kMostPerToken,
         "{} is {} and expert_ids {} but no token has more than {} experts, and no other extent is "
         "above {}",
         name, shape_text(rows), shape_text(expert_ids), kMostPerToken, kMost);
}

void check_dense_pair_rows(Contract& c, const ConstTensorRef& expand_x, bool tp) {
  c.rule(Rule::kStrides, !tp || expand_x.dense(),
         "expand_x has strides ({}) but must be dense with TP; make it contiguous",
         fmt::join(expand_x.strides(), ", "));
}

void check_token_rows(Contract& c, std::string_view name, const ConstTensorRef& t,
                      std::int64_t rows, std::int64_t columns) {
  if (!t.given() || !c.ok()) return;
  const std::int64_t have = t.rank() == 3 ? t.dim(0) * t.dim(1) : t.dim(0);
  c.rule(Rule::kShape, have == rows && t.dim(t.rank() - 1) == columns,
         "{} is {} but must have {} rows of {}", name, shape_text(t), rows, columns);
  const int last = t.rank() - 1;
  c.rule(Rule::kStrides, t.stride(last) == 1 || t.dim(last) <= 1,
         "{} has stride {} along its rows but their elements must be adjacent (1); make it "
         "contiguous",
         name, t.stride(last));
}

void check_vector(Contract& c, std::string_view name, const ConstTensorRef& t,
                  std::int64_t elements, bool exactly) {
  if (!t.given() || !c.ok()) return;
  const std::int64_t have = t.elements();
  c.rule(Rule::kShape, exactly ? have == elements : have >= elements,
         "{} is {} but must have {}{} elements", name, shape_text(t), exactly ? "" : "at least ",
         elements);
  c.rule(Rule::kStrides, have == 0 || t.dense(),
         "{} has strides ({}) but must be dense; make it contiguous", name,
         fmt::join(t.strides(), ", "));
}

void check_matrix(Contract& c, std::string_view name, const ConstTensorRef& t, std::int64_t rows,
                  std::int64_t columns) {
  if (!t.given() || !c.ok()) return;
  c.rule(Rule::kShape, t.dim(0) == rows && t.dim(1) == columns, "{} is {} but must be ({}, {})",
         name, shape_text(t), rows, columns);
}

void check_mask(Contract& c, const ConstTensorRef& mask, std::int64_t tokens, std::int64_t k) {
  if (!mask.given() || !c.ok()) return;
  const bool fits = mask.dim(0) == tokens && (mask.rank() == 1 || mask.dim(1) == k);
  c.rule(Rule::kShape, fits, "x_active_mask is {} but must be ({}) or ({}, {})", shape_text(mask),
         tokens, tokens, k);
}

}  // namespace weft::ops
