// SPDX-License-Identifier: Apache-2.0
#include "ops/ffn/contract.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>

namespace weft::ops {
namespace {

using Args = FfnArgs;

constexpr std::int64_t kMaxExtent = std::numeric_limits<std::int32_t>::max();
// A plan keeps a number for each.
constexpr std::int64_t kMaxExperts = 65536;

// One of the two products, for rules that hold for both.
struct Product {
  std::string_view weight_name, packed_name, bias_name, deq_name, antiquant_name, offset_name;
  ConstTensorRef weight;
  const PackedWeight* packed;
  ConstTensorRef bias, deq_scale, antiquant_scale, antiquant_offset;

  bool given() const { return weight.given() || packed; }
  DType dtype() const { return packed ? packed->dtype() : weight.dtype(); }
  int rank() const { return packed ? (packed->experts() > 0 ? 3 : 2) : weight.rank(); }
  std::int64_t k() const { return packed ? packed->k() : weight.dim(weight.rank() - 2); }
  std::int64_t n() const { return packed ? packed->n() : weight.dim(weight.rank() - 1); }
  std::int64_t experts() const {
    if (rank() != 3) return -1;
    return packed ? packed->experts() : weight.dim(0);
  }
};
Product first_of(const Args& a) {
  return {
      "weight1", "packed_weight1", "bias1", "deq_scale1", "antiquant_scale1", "antiquant_offset1",
      a.weight1, a.packed_weight1, a.bias1, a.deq_scale1, a.antiquant_scale1, a.antiquant_offset1};
}
Product second_of(const Args& a) {
  return {
      "weight2", "packed_weight2", "bias2", "deq_scale2", "antiquant_scale2", "antiquant_offset2",
      a.weight2, a.packed_weight2, a.bias2, a.deq_scale2, a.antiquant_scale2, a.antiquant_offset2};
}
std::array<Product, 2> products_of(const Args& a) { return {first_of(a), second_of(a)}; }

// Extents of an operand that all experts have, or none.
struct Dims {
  std::array<std::int64_t, 3> dims{};
  size_t rank = 0;
  Dims(std::int64_t experts, std::initializer_list<std::int64_t> own) {
    if (experts >= 0) dims[rank++] = experts;
    for (std::int64_t extent : own) dims[rank++] = extent;
  }
  std::span<const std::int64_t> span() const { return {dims.data(), rank}; }
  bool fits(const ConstTensorRef& t) const { return std::ranges::equal(t.dims(), span()); }
  std::string text() const { return fmt::format("({})", fmt::join(span(), ", ")); }
};

void check_given(Contract& c, const Args& a) {
  c.rule(Rule::kMissing, a.x.given(), "x is missing");
  for (const Product& p : products_of(a)) {
    c.rule(Rule::kMissing, p.given(), "{} is missing", p.weight_name);
    c.rule(!(p.weight.given() && p.packed), "{} and {} are both given; give one of them",
           p.weight_name, p.packed_name);
  }
  c.rule(Rule::kMissing, a.y.given(), "y is missing");
}

// What int8 rows have and the others lack; scale and offset first.
std::array<NamedTensor, 4> quant_operands(const Args& a) {
  return {{{"scale", a.scale},
           {"offset", a.offset},
           {"deq_scale1", a.deq_scale1},
           {"deq_scale2", a.deq_scale2}}};
}

void check_absent(Contract& c, std::string_view name, const ConstTensorRef& t, std::string_view x,
                  std::string_view weights) {
  c.rule(Rule::kDtype, !t.given(), "{} is given, but x is {} and the weights are {}; leave it out",
         name, x, weights);
}

void check_quant_dtypes(Contract& c, const Args& a) {
  const DType io = a.y.dtype();
  const auto needed = quant_operands(a);
  for (const auto& [name, tensor] : needed)
    c.rule(Rule::kDtype, tensor.given(), "{} is missing; int8 x and weights need one", name);
  if (!c.ok()) return;
  for (const auto& [name, tensor] : std::span(needed).first(2))
    c.rule(Rule::kDtype, tensor.dtype() == DType::kFloat32, "{} is {} but must be float32", name,
           to_string(tensor.dtype()));
  c.rule(Rule::kDtype, a.deq_scale1.dtype() == a.deq_scale2.dtype(),
         "deq_scale1 is {} but deq_scale2 is {}; they must be the same",
         to_string(a.deq_scale1.dtype()), to_string(a.deq_scale2.dtype()));
  const DType scale = a.deq_scale1.dtype();
  const bool packed = scale == DType::kUInt64 || scale == DType::kInt64 || scale == DType::kFloat32;
  c.rule(Rule::kDtype, io == DType::kFloat16 ? packed : scale == DType::kBFloat16,
         "deq_scale1 is {} but must be {} when y is {}", to_string(scale),
         io == DType::kFloat16 ? "uint64, int64 or float32" : "bfloat16", to_string(io));
}

void check_float_dtypes(Contract& c, const Args& a, Scenario scenario) {
  const DType io = a.x.dtype();
  c.rule(Rule::kDtype, a.y.dtype() == io, "y is {} but must be {} like x", to_string(a.y.dtype()),
         to_string(io));
  const std::string_view x = to_string(io), w = to_string(first_of(a).dtype());
  for (const auto& [name, tensor] : quant_operands(a)) check_absent(c, name, tensor, x, w);
  if (scenario != Scenario::kWeightQuant) return;
  for (const Product& p : products_of(a)) {
    c.rule(Rule::kDtype, !p.packed, "{} is {} but x is {}; pack the restored weight or pass {}",
           p.packed_name, w, x, p.weight_name);
    c.rule(Rule::kDtype, p.antiquant_scale.given(), "{} is missing; {} weights with {} x need one",
           p.antiquant_name, w, x);
    c.rule(Rule::kDtype, !p.antiquant_scale.given() || p.antiquant_scale.dtype() == io,
           "{} is {} but must be {} like x", p.antiquant_name, to_string(p.antiquant_scale.dtype()),
           x);
    c.rule(Rule::kDtype, !p.antiquant_offset.given() || p.antiquant_offset.dtype() == io,
           "{} is {} but must be {} like x", p.offset_name, to_string(p.antiquant_offset.dtype()),
           x);
  }
}

void check_biases(Contract& c, const Args& a, Scenario scenario) {
  const DType io = a.x.dtype();
  for (const Product& p : products_of(a)) {
    if (!p.bias.given()) continue;
    const DType bias = p.bias.dtype();
    if (scenario == Scenario::kQuant)
      c.rule(Rule::kDtype, bias == DType::kInt32, "{} is {} but must be int32 with int8 x",
             p.bias_name, to_string(bias));
    else
      c.rule(Rule::kDtype, bias == io || bias == DType::kFloat32,
             "{} is {} but must be {} like x, or float32", p.bias_name, to_string(bias),
             to_string(io));
  }
}

void check_dtypes(Contract& c, const Args& a) {
  const DType w1 = first_of(a).dtype(), w2 = second_of(a).dtype();
  c.rule(Rule::kDtype, w1 == w2, "weight1 is {} but weight2 is {}; they must be the same",
         to_string(w1), to_string(w2));
  const Scenario scenario = scenario_of(a);
  c.rule(Rule::kDtype, scenario != Scenario::kNone,
         "there is no row for x {} with weights {}; use float16 or bfloat16 for all, int8 for all, "
         "or float16 / bfloat16 x with int8 / int4 weights",
         to_string(a.x.dtype()), to_string(w1));
  const DType io = a.y.dtype();
  c.rule(Rule::kDtype, io == DType::kFloat16 || io == DType::kBFloat16,
         "y is {} but must be float16 or bfloat16", to_string(io));
  if (!c.ok()) return;
  if (scenario == Scenario::kQuant)
    check_quant_dtypes(c, a);
  else
    check_float_dtypes(c, a, scenario);
  check_biases(c, a, scenario);
  if (scenario != Scenario::kWeightQuant)
    for (const Product& p : products_of(a)) {
      check_absent(c, p.antiquant_name, p.antiquant_scale, to_string(a.x.dtype()), to_string(w1));
      check_absent(c, p.offset_name, p.antiquant_offset, to_string(a.x.dtype()), to_string(w1));
    }
  c.rule(Rule::kDtype, !a.expert_tokens.given() || a.expert_tokens.dtype() == DType::kInt64,
         "expert_tokens is {} but must be int64", to_string(a.expert_tokens.dtype()));
  c.rule(Rule::kInnerPrecise,
         scenario != Scenario::kFloat || io == DType::kFloat16 ||
             a.inner_precise == InnerPrecise::kHighPrecision,
         "inner_precise is 1 (high performance) but must be 0 with bfloat16: the first product "
         "would be rounded to float16");
}

void check_ranks(Contract& c, const Args& a) {
  c.rule(Rule::kRank, a.y.rank() == a.x.rank(), "y is {} but must have as many axes as x, {}",
         shape_text(a.y), shape_text(a.x));
  c.rule(Rule::kRank, a.x.rank() >= 2 && a.x.rank() <= kMaxDims,
         "x is {} but must have 2 to 8 axes", shape_text(a.x));
  const int rank = a.expert_tokens.given() ? 3 : 2;
  for (const Product& p : products_of(a))
    c.rule(Rule::kRank, p.rank() == rank, "{} has {} axes but must have {} {} expert_tokens",
           p.weight_name, p.rank(), rank, rank == 3 ? "with" : "without");
  c.rule(Rule::kRank, !a.expert_tokens.given() || a.expert_tokens.rank() == 1,
         "expert_tokens is {} but must be (experts)", shape_text(a.expert_tokens));
}

void check_extents(Contract& c, const Args& a) {
  const FfnShape s = shape_of(a);
  const std::int64_t x_k = a.x.dim(a.x.rank() - 1);
  c.rule(Rule::kDepth, x_k == s.k1, "the last dimension of x is {} but weight1 has k = {}", x_k,
         s.k1);
  if (has_gate(a.activation))
    c.rule(Rule::kDepth, s.n1 % 2 == 0 && s.k2 == s.n1 / 2,
           "weight1 has n = {} and weight2 k = {}, but {} needs twice as many columns of weight1 "
           "as rows of weight2",
           s.n1, s.k2, to_string(a.activation));
  else
    c.rule(Rule::kDepth, s.n1 == s.k2,
           "weight1 has n = {} but weight2 has k = {}; they must be the same with {}", s.n1, s.k2,
           to_string(a.activation));
  if (s.has_experts()) {
    const std::int64_t tokens = a.expert_tokens.dim(0);
    for (const Product& p : products_of(a))
      c.rule(Rule::kExperts, p.experts() == tokens,
             "{} has {} experts but expert_tokens has {} values", p.weight_name, p.experts(),
             tokens);
  }
  c.rule(Rule::kLimit, std::max({s.m, s.k1, s.n1, s.k2, s.n2}) <= kMaxExtent,
         "M, K1, N1, K2, N2 are {}, {}, {}, {}, {} but each must be at most {}", s.m, s.k1, s.n1,
         s.k2, s.n2, kMaxExtent);
  c.rule(Rule::kLimit, s.experts <= kMaxExperts,
         "expert_tokens has {} values but must have at most {}", s.experts, kMaxExperts);
  c.rule(Rule::kLimit, scenario_of(a) != Scenario::kQuant || std::max(s.k1, s.k2) <= kMaxInt8Depth,
         "K1 and K2 are {} and {} but must be at most {} with int8 x (the sums are int32)", s.k1,
         s.k2, kMaxInt8Depth);
  const auto leading = a.x.dims().first(static_cast<size_t>(a.x.rank() - 1));
  const bool fits =
      std::ranges::equal(a.y.dims().first(leading.size()), leading) && a.y.dims().back() == s.n2;
  c.rule(Rule::kShape, fits, "y is {} but must be x with its last dimension n of weight2: ({}, {})",
         shape_text(a.y), fmt::join(leading, ", "), s.n2);
}

void check_small_operands(Contract& c, const Args& a) {
  const FfnShape s = shape_of(a);
  const std::int64_t e = s.experts;
  for (const Product& p : products_of(a)) {
    const Dims row(e, {p.n()});
    c.rule(Rule::kBias, !p.bias.given() || row.fits(p.bias), "{} is {} but must be {}", p.bias_name,
           shape_text(p.bias), row.text());
    c.rule(Rule::kScaleShape, !p.deq_scale.given() || row.fits(p.deq_scale),
           "{} is {} but must be {}", p.deq_name, shape_text(p.deq_scale), row.text());
  }
  if (scenario_of(a) != Scenario::kQuant) return;
  const Dims one = s.has_experts() ? Dims(e, {}) : Dims(e, {1}), per_channel(e, {s.k2});
  c.rule(Rule::kScaleShape, one.fits(a.scale) || per_channel.fits(a.scale),
         "scale is {} but must be {} or {}", shape_text(a.scale), one.text(), per_channel.text());
  c.rule(Rule::kScaleShape, one.fits(a.offset), "offset is {} but must be {}", shape_text(a.offset),
         one.text());
}

void check_antiquant(Contract& c, const Args& a) {
  for (const Product& p : products_of(a)) {
    const ConstTensorRef &scale = p.antiquant_scale, &offset = p.antiquant_offset;
    const std::int64_t e = p.experts();
    const int groups_axis = e >= 0 ? 1 : 0;
    const bool per_group = scale.rank() == groups_axis + 2;
    const std::int64_t groups = per_group ? scale.dim(groups_axis) : 1;
    c.rule(Rule::kScaleShape,
           Dims(e, {1}).fits(scale) || Dims(e, {p.n()}).fits(scale) ||
               Dims(e, {groups, p.n()}).fits(scale),
           "{} is {} but must be {}, {} or with groups {}", p.antiquant_name, shape_text(scale),
           Dims(e, {1}).text(), Dims(e, {p.n()}).text(), Dims(e, {groups, p.n()}).text());
    c.rule(Rule::kGroupSize, groups >= 1 && p.k() % groups == 0,
           "{} is {}, {} groups, but weights of k = {} need a number of groups that divides it",
           p.antiquant_name, shape_text(scale), groups, p.k());
    c.rule(Rule::kScaleShape, !offset.given() || std::ranges::equal(offset.dims(), scale.dims()),
           "{} is {} but must be {} like {}", p.offset_name, shape_text(offset), shape_text(scale),
           p.antiquant_name);
  }
}

// Two int4 lie in a byte: rows of the adjacent axis, and experts, begin with a byte.
void check_int4(Contract& c, const Product& p) {
  const ConstTensorRef& w = p.weight;
  if (w.dtype() != DType::kInt4 || is_empty(w)) return;
  const int k = w.rank() - 2, n = w.rank() - 1;
  const bool row_major = w.stride(n) == 1 || w.dim(n) == 1;
  const bool k_adjacent = w.stride(k) == 1 || w.dim(k) == 1;
  c.rule(Rule::kStrides, row_major || k_adjacent,
         "{} is int4 with strides ({}, {}) but one axis must be adjacent: row-major (…, 1) or the "
         "transposed view (1, …); make it contiguous",
         p.weight_name, w.stride(k), w.stride(n));
  check_int4_pairs(c, p.weight_name, w);
  c.rule(Rule::kStrides, w.rank() == 2 || w.dim(0) <= 1 || w.stride(0) % 2 == 0,
         "{} is int4 with {} elements from expert to expert, but that must be even (two per byte)",
         p.weight_name, w.rank() == 3 ? w.stride(0) : 0);
}

void check_layouts(Contract& c, const Args& a) {
  const TensorList all = tensors_of(a);  // a temporary would end before the loop begins
  for (const auto& [name, tensor] : std::span<const NamedTensor>(all)) {
    c.rule(Rule::kFormat, tensor.format() == Format::kStrided,
           "{} is FRACTAL_NZ but must lie as its strides say", name);
    c.rule(Rule::kLimit, !tensor.given() || can_be_addressed(tensor),
           "{} is {} with strides ({}), more than can be addressed", name, shape_text(tensor),
           fmt::join(tensor.strides(), ", "));
  }
  if (!c.ok() || !c.status().ok()) return;
  for (const Product& p : products_of(a))
    if (p.weight.given()) check_int4(c, p);
  c.rule(
      Rule::kStrides, elements_are_apart(a.y),
      "y has strides ({}) that put several of its elements at the same place; make it contiguous",
      fmt::join(a.y.strides(), ", "));
}

}  // namespace

FfnShape shape_of(const Args& a) {
  const Product first = first_of(a), second = second_of(a);
  return {rows_of(a.x), first.k(), first.n(), second.k(), second.n(), first.experts()};
}

Scenario scenario_of(const Args& a) { return scenario_of(a.x.dtype(), first_of(a).dtype()); }

TensorList tensors_of(const Args& a) {
  TensorList list;
  list.add("x", a.x).add("weight1", a.weight1).add("weight2", a.weight2);
  list.add("expert_tokens", a.expert_tokens).add("bias1", a.bias1).add("bias2", a.bias2);
  list.add("scale", a.scale).add("offset", a.offset);
  list.add("deq_scale1", a.deq_scale1).add("deq_scale2", a.deq_scale2);
  list.add("antiquant_scale1", a.antiquant_scale1).add("antiquant_scale2", a.antiquant_scale2);
  list.add("antiquant_offset1", a.antiquant_offset1).add("antiquant_offset2", a.antiquant_offset2);
  return list.add("y", a.y);
}

Status check_plan(const Args& a) {
  Contract c(kFfn);
  check_given(c, a);
  if (c.ok()) check_extents(c, tensors_of(a));
  if (c.ok()) check_ranks(c, a);
  if (c.ok()) check_dtypes(c, a);
  if (c.ok()) check_extents(c, a);
  if (c.ok()) check_small_operands(c, a);
  if (c.ok() && scenario_of(a) == Scenario::kWeightQuant) check_antiquant(c, a);
  if (c.ok()) check_layouts(c, a);
  return c.status();
}

Status check_run(const Args& planned, const Args& a) {
  Contract c(kFfn);
  const TensorList now = tensors_of(a);
  check_as_planned(c, tensors_of(planned), now);
  c.rule(a.packed_weight1 == planned.packed_weight1,
         "packed_weight1 is another weight than planned; plan again");
  c.rule(a.packed_weight2 == planned.packed_weight2,
         "packed_weight2 is another weight than planned; plan again");
  c.rule(a.activation == planned.activation, "activation is {} but {} was planned; plan again",
         to_string(a.activation), to_string(planned.activation));
  c.rule(a.inner_precise == planned.inner_precise,
         "inner_precise is {} but {} was planned; plan again", static_cast<int>(a.inner_precise),
         static_cast<int>(planned.inner_precise));
  c.rule(a.tokens_are_ends == planned.tokens_are_ends,
         "tokens_are_ends is {} but {} was planned; plan again", a.tokens_are_ends,
         planned.tokens_are_ends);
  check_apart(c, {"y", a.y}, now);
  return c.status();
}

Status check_expert_tokens(const std::int64_t* values, std::int64_t experts, std::int64_t stride,
                           bool are_ends, std::int64_t m) {
  Contract c(kFfn);
  std::int64_t end = 0;  // of the experts so far
  for (std::int64_t e = 0; e < experts && c.ok(); ++e) {
    const std::int64_t value = values[e * stride], before = end;
    c.rule(Rule::kTokens, value >= 0, "expert_tokens[{}] is {} but can't be negative", e, value);
    if (are_ends)
      c.rule(Rule::kTokens, value >= before,
             "expert_tokens[{}] is {}, less than the {} before it; ends can't fall", e, value,
             before);
    c.rule(Rule::kTokens, are_ends ? value <= m : value <= m - before,
           "expert_tokens[{}] is {}, which makes {} rows, but x has {}", e, value,
           are_ends ? fmt::to_string(value) : fmt::format("{} + {}", before, value), m);
    if (c.ok()) end = are_ends ? value : before + value;
  }
  return c.status();
}

}  // namespace weft::ops
