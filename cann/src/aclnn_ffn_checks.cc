// SPDX-License-Identifier: Apache-2.0
#include "aclnn_ffn_checks.h"

#include <array>
#include <limits>
#include <memory>

#include "ops/ffn/contract.h"

namespace weft::cann {
namespace {

using ops::Scenario;

constexpr int kInvalid = ACLNN_ERR_PARAM_INVALID, kPlanning = ACLNN_ERR_INNER_NULLPTR;
constexpr std::int64_t kMostDepth = 65535, kMostExperts = 256;
constexpr int kBlockBytes = 32;  // M counts in blocks of so many bytes of x

/// One of the two products, for rules that hold for both.
struct Product {
  const char *weight_name, *bias_name, *scale_name, *offset_name;
  ConstTensorRef weight, bias, scale, offset;

  std::int64_t k() const { return weight.dim(weight.rank() - 2); }
  std::int64_t n() const { return weight.dim(weight.rank() - 1); }
};
std::array<Product, 2> products_of(const FfnArgs& a) {
  return {{{"weight1", "bias1", "antiquantScale1", "antiquantOffset1", a.weight1, a.bias1,
            a.antiquant_scale1, a.antiquant_offset1},
           {"weight2", "bias2", "antiquantScale2", "antiquantOffset2", a.weight2, a.bias2,
            a.antiquant_scale2, a.antiquant_offset2}}};
}

void check_extents(Findings& f, const FfnArgs& a, const ops::FfnShape& s) {
  for (const Product& p : products_of(a))
    f.require(p.k() <= kMostDepth, kInvalid, "{} has {} rows but at most {} are possible",
              p.weight_name, p.k(), kMostDepth);
  f.require(s.n2 == s.k1, kInvalid,
            "weight2 has {} columns but must have {}, as many as x has: y has the shape of x", s.n2,
            s.k1);
}

void check_gate(Findings& f, const FfnArgs& a, std::int64_t inner_precise) {
  if (!has_gate(a.activation)) return;
  const auto name = to_string(a.activation);
  f.require(a.x.dtype() == DType::kFloat16 && a.weight1.dtype() == DType::kFloat16, kInvalid,
            "x is {} and the weights are {}, but {} takes float16 only", to_string(a.x.dtype()),
            to_string(a.weight1.dtype()), name);
  f.require(!a.expert_tokens.given(), kInvalid,
            "expertTokens has {} experts, but {} takes none; pass null",
            a.expert_tokens.given() ? a.expert_tokens.dim(0) : 0, name);
  f.require(inner_precise == 1, kInvalid, "innerPrecise is {} but must be 1 with {}", inner_precise,
            name);
}

void check_biases(Findings& f, const FfnArgs& a) {
  if (a.x.dtype() == DType::kInt8) return;
  const DType wanted = a.x.dtype() == DType::kFloat16 ? DType::kFloat16 : DType::kFloat32;
  for (const Product& p : products_of(a))
    f.require(!p.bias.given() || p.bias.dtype() == wanted, kInvalid,
              "{} is {} but must be {} with {} x", p.bias_name, to_string(p.bias.dtype()),
              to_string(wanted), to_string(a.x.dtype()));
}

// Of the packed scales and of bfloat16 there are variants for a scale per column, of float none.
void check_quant(Findings& f, const FfnArgs& a, const ops::FfnShape& s) {
  const int axis = s.has_experts() ? 1 : 0;
  const bool per_channel =
      a.scale.rank() == axis + 1 && (s.has_experts() || s.n1 != 1) && a.scale.dim(axis) == s.n1;
  f.require(!per_channel || a.deq_scale1.dtype() != DType::kFloat32, kInvalid,
            "scale is {}, a value per column, but must be ({}) where deqScale1 is float32; pack "
            "the scales with aclnnTransQuantParamV2",
            ops::shape_text(a.scale), s.has_experts() ? s.experts : 1);
}

bool lies_densely(const ConstTensorRef& w, int adjacent, int other) {
  const auto strides_are = [&w](int axis, std::int64_t stride) {
    return w.dim(axis) == 1 || w.stride(axis) == stride;
  };
  return strides_are(adjacent, 1) && strides_are(other, w.dim(adjacent)) &&
         (w.rank() == 2 || strides_are(0, w.dim(1) * w.dim(2)));
}

void check_int4(Findings& f, const Product& p) {
  const ConstTensorRef& w = p.weight;
  if (w.dtype() != DType::kInt4) return;
  f.require(p.n() % 2 == 0, kInvalid,
            "{} is int4 with {} columns, but that must be even (two per byte)", p.weight_name,
            p.n());
  const int k = w.rank() - 2, n = w.rank() - 1;
  f.require(ops::is_empty(w) || lies_densely(w, n, k) || lies_densely(w, k, n), kInvalid,
            "{} is int4 with strides {}, {} but must be dense, ({}, 1), or a dense transposed "
            "view, (1, {}); make it contiguous",
            p.weight_name, w.stride(k), w.stride(n), p.n(), p.k());
}

void check_antiquant(Findings& f, const FfnArgs& a, const ops::FfnShape& s) {
  const int groups_axis = s.has_experts() ? 1 : 0;
  for (const Product& p : products_of(a)) {
    f.require(p.offset.given(), kInvalid, "{} is null, but {} weights with {} x need one",
              p.offset_name, to_string(p.weight.dtype()), to_string(a.x.dtype()));
    const int last = p.scale.rank() - 1;
    f.require(p.scale.dim(last) == p.n(), kInvalid,
              "{} has {} column(s) but must have {}, those of {}", p.scale_name, p.scale.dim(last),
              p.n(), p.weight_name);
    f.require(p.weight.dtype() == DType::kInt4 || last == groups_axis, kInvalid,
              "{} has {} axes but must have {}: groups are for int4 weights, and {} is int8",
              p.scale_name, last + 1, groups_axis + 1, p.weight_name);
    check_int4(f, p);
  }
  f.require(a.antiquant_scale1.rank() == a.antiquant_scale2.rank(), kInvalid,
            "antiquantScale1 has {} axes but antiquantScale2 has {}; they must have as many",
            a.antiquant_scale1.rank(), a.antiquant_scale2.rank());
}

void check_planning(Findings& f, const FfnArgs& a, const ops::FfnShape& s,
                    std::int64_t inner_precise) {
  f.require(inner_precise == 0 || inner_precise == 1, kPlanning,
            "innerPrecise is {} but must be 0 (high precision) or 1 (high performance)",
            inner_precise);
  f.require(s.experts <= kMostExperts, kPlanning,
            "expertTokens has {} experts but at most {} are possible", s.experts, kMostExperts);
  const std::int64_t block = kBlockBytes * 8 / info(a.x.dtype()).bits;
  const std::int64_t most = std::numeric_limits<std::int32_t>::max() / block * block;
  f.require(s.m <= most, kPlanning, "x has {} rows but at most {} are possible; make several calls",
            s.m, most);
}

}  // namespace

void check_format(Findings& findings, const char* name, const aclTensor* handle) {
  const std::shared_ptr<Tensor> found = look_up(findings, name, handle);
  if (!found) return;
  findings.require(!found->tiled(), kInvalid,
                   "{} has storage format {}, which is tiled; pass ACL_FORMAT_ND (2)", name,
                   number_of(found->storage_format));
}

void check_expert_tokens(Findings& findings, std::span<const std::int64_t> tokens, bool are_ends,
                         std::int64_t rows) {
  const auto experts = static_cast<std::int64_t>(tokens.size());
  const Status status = ops::check_expert_tokens(tokens.data(), experts, 1, are_ends, rows);
  findings.require(status.ok(), kInvalid, "{}", status.message());
  if (!status.ok()) return;
  std::int64_t end = 0;
  for (std::int64_t value : tokens) end = are_ends ? value : end + value;
  findings.require(end == rows, kInvalid,
                   "expertTokens {} {} but must {} {}, the rows of x: every row has an expert",
                   are_ends ? "ends with" : "adds up to", end, are_ends ? "end with" : "add up to",
                   rows);
}

void check_ffn(Findings& findings, const FfnArgs& args, std::int64_t inner_precise) {
  const ops::FfnShape shape = ops::shape_of(args);
  check_extents(findings, args, shape);
  check_gate(findings, args, inner_precise);
  const bool bfloat16 = args.x.dtype() == DType::kBFloat16;
  const Scenario scenario = ops::scenario_of(args);
  findings.require(scenario != Scenario::kFloat || !bfloat16 || inner_precise == 0, kInvalid,
                   "innerPrecise is {} but must be 0 with bfloat16", inner_precise);
  check_biases(findings, args);
  if (scenario == Scenario::kQuant) check_quant(findings, args, shape);
  if (scenario == Scenario::kWeightQuant) check_antiquant(findings, args, shape);
  check_planning(findings, args, shape, inner_precise);
}

}  // namespace weft::cann
