// SPDX-License-Identifier: Apache-2.0
#include "ops/local_matmul/operands.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/memory.h"

namespace weft::ops {
namespace {

constexpr std::int64_t kMaxExtent = std::numeric_limits<std::int32_t>::max();

bool is_float16_type(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBFloat16; }

std::string names_of(std::span<const DType> dtypes) {
  std::string text;
  for (DType dtype : dtypes)
    text += fmt::format("{}{}", text.empty() ? "" : " or ", to_string(dtype));
  return text;
}

void check_quant_dtypes(Contract& c, const MatmulOperands& o, DType io,
                        std::span<const DequantRow> rows) {
  const DType scale = o.dequant_scale.dtype();
  const bool per_token = o.pertoken_scale.given();
  std::vector<DType> allowed;
  bool per_token_matters = false;
  for (const DequantRow& row : rows) {
    if (row.io != io) continue;
    per_token_matters = per_token_matters || row.per_token != PerToken::kNever;
    if (row.per_token == PerToken::kOptional || (row.per_token == PerToken::kAlways) == per_token)
      allowed.push_back(row.scale);
  }
  const bool packed = std::ranges::find(allowed, DType::kUInt64) != allowed.end();
  // CANN finds this one combination later than the others.
  const bool scale_row = scale == DType::kFloat32 && io == DType::kFloat16 && !per_token;
  if (std::ranges::find(allowed, scale) == allowed.end())
    c.rule(scale_row ? Rule::kScaleRow : Rule::kDtype, false,
           "{} is {} but must be {} when the outputs are {}{}{}", o.dequant_name, to_string(scale),
           names_of(allowed), to_string(io),
           !per_token_matters
               ? std::string()
               : fmt::format(" and {} is {}", o.pertoken_name, per_token ? "given" : "not given"),
           packed ? "; pack fp32 scales with trans_quant_param" : "");
  c.rule(Rule::kDtype, !per_token || o.pertoken_scale.dtype() == DType::kFloat32,
         "{} is {} but must be float32", o.pertoken_name, to_string(o.pertoken_scale.dtype()));
  c.rule(Rule::kDtype, !o.bias.given() || o.bias.dtype() == DType::kInt32,
         "bias is {} but must be int32 with int8 x1 and x2", to_string(o.bias.dtype()));
  c.rule(Rule::kDtype, !o.antiquant_scale.given() && !o.antiquant_offset.given(),
         "antiquant_scale or antiquant_offset is given, but x1 and x2 are int8; leave them out");
}

void check_float_dtypes(Contract& c, const MatmulOperands& o, DType io, Scenario scenario) {
  c.rule(Rule::kDtype, o.x1.dtype() == io, "x1 is {} but the outputs are {}; they must be the same",
         to_string(o.x1.dtype()), to_string(io));
  c.rule(Rule::kDtype, !o.bias.given() || o.bias.dtype() == io, "bias is {} but must be {} like x1",
         to_string(o.bias.dtype()), to_string(io));
  c.rule(Rule::kDtype, !o.dequant_scale.given() && !o.pertoken_scale.given(),
         "{} is given, but x1 is {}; leave it out",
         o.dequant_scale.given() ? o.dequant_name : o.pertoken_name, to_string(o.x1.dtype()));
  if (scenario == Scenario::kFloat) {
    c.rule(Rule::kDtype, !o.antiquant_scale.given() && !o.antiquant_offset.given(),
           "antiquant_scale or antiquant_offset is given, but x2 is {}; leave them out",
           to_string(o.weight_dtype()));
    return;
  }
  c.rule(Rule::kDtype, o.antiquant_scale.dtype() == io,
         "antiquant_scale is {} but must be {} like x1", to_string(o.antiquant_scale.dtype()),
         to_string(io));
  c.rule(Rule::kDtype, !o.antiquant_offset.given() || o.antiquant_offset.dtype() == io,
         "antiquant_offset is {} but must be {} like antiquant_scale",
         to_string(o.antiquant_offset.dtype()), to_string(io));
}

void check_antiquant_shapes(Contract& c, const MatmulOperands& o, std::int64_t k, std::int64_t n) {
  const std::int64_t g = o.antiquant_group_size;
  const ConstTensorRef& scale = o.antiquant_scale;
  if (g == 0) {
    c.rule(Rule::kScaleShape, is_per_tensor(scale) || is_per_channel(scale, n),
           "antiquant_scale is {} but must be (1), ({}) or (1, {}) when antiquant_group_size is 0",
           shape_text(scale), n, n);
  } else {
    c.rule(Rule::kGroupSize, g % 32 == 0 && g >= 32 && g <= k - 1,
           "antiquant_group_size is {} but must be 0 or a multiple of 32 from 32 to k - 1 = {}", g,
           k - 1);
    c.rule(Rule::kGroupOfOne, !is_per_tensor(scale),
           "antiquant_scale is (1) but antiquant_group_size is {}; one scale for all has no groups",
           g);
    c.rule(Rule::kScaleShape,
           is_per_tensor(scale) ||
               (scale.rank() == 2 && scale.dim(0) == ceil_div(k, g) && scale.dim(1) == n),
           "antiquant_scale is {} but must be (ceil(k / antiquant_group_size), n) = ({}, {})",
           shape_text(scale), g > 0 ? ceil_div(k, g) : 0, n);
  }
  c.rule(Rule::kScaleShape,
         !o.antiquant_offset.given() || (o.antiquant_offset.rank() == scale.rank() &&
                                         std::equal(scale.dims().begin(), scale.dims().end(),
                                                    o.antiquant_offset.dims().begin())),
         "antiquant_offset is {} but must be {} like antiquant_scale",
         o.antiquant_offset.given() ? shape_text(o.antiquant_offset) : "", shape_text(scale));
}

void check_fractal_nz(Contract& c, const MatmulOperands& o) {
  c.rule(
      Rule::kFormat, o.x2.dtype() != DType::kInt4,
      "x2 is int4 in FRACTAL_NZ but that is for float16, bfloat16 and int8; pass it row-major or "
      "as the transposed view");
  c.rule(Rule::kFormat, o.antiquant_group_size == 0,
         "antiquant_group_size is {} with x2 in FRACTAL_NZ but must be 0; pass x2 row-major or as "
         "the transposed view",
         o.antiquant_group_size);
}

void check_weight_layout(Contract& c, const MatmulOperands& o) {
  if (o.packed_x2) return;
  const ConstTensorRef& x2 = o.x2;
  if (x2.format() == Format::kFractalNz) return check_fractal_nz(c, o);
  if (is_empty(x2)) return;  // no element to be anywhere
  const bool row_major = x2.stride(1) == 1 || x2.dim(1) == 1;
  const bool k_adjacent = x2.stride(0) == 1 || x2.dim(0) == 1;
  c.rule(
      Rule::kStrides, (row_major || k_adjacent) && x2.stride(0) > 0 && x2.stride(1) > 0,
      "x2 has strides ({}, {}) but one axis must be adjacent: row-major (…, 1) or the transposed "
      "view (1, …); make it contiguous",
      x2.stride(0), x2.stride(1));
  if (x2.dtype() == DType::kInt4) check_int4_pairs(c, "x2", x2);
}

// Only weights have another order than strides.
void check_formats(Contract& c, const MatmulOperands& o) {
  const TensorList tensors = tensors_of(o);
  for (const auto& [name, tensor] : std::span<const NamedTensor>(tensors))
    c.rule(Rule::kFormat, name == "x2" || tensor.format() == Format::kStrided,
           "{} is FRACTAL_NZ but only x2 can be; pass it with strides", name);
}

}  // namespace

void check_int4_pairs(Contract& c, std::string_view name, const ConstTensorRef& weight) {
  const int k = weight.rank() - 2, n = weight.rank() - 1;
  // A single column is adjacent along k, whatever the stride of n says.
  const bool column = weight.dim(n) == 1 && weight.stride(k) == 1;
  const bool row_major = weight.stride(n) == 1 || weight.dim(n) == 1;
  const std::int64_t inner = row_major && !column ? weight.dim(n) : weight.dim(k);
  c.rule(
      Rule::kShape, inner % 2 == 0,
      "{} is int4 with {} elements along its adjacent axis, but that must be even (two per byte)",
      name, inner);
}

bool is_per_tensor(const ConstTensorRef& scale) { return scale.rank() == 1 && scale.dim(0) == 1; }
bool is_per_channel(const ConstTensorRef& scale, std::int64_t n) {
  return (scale.rank() == 1 && scale.dim(0) == n) ||
         (scale.rank() == 2 && scale.dim(0) == 1 && scale.dim(1) == n);
}

TensorList tensors_of(const MatmulOperands& o) {
  TensorList list;
  list.add("x1", o.x1).add("x2", o.x2).add("bias", o.bias).add("x3", o.x3);
  list.add(o.dequant_name, o.dequant_scale).add(o.pertoken_name, o.pertoken_scale);
  list.add("antiquant_scale", o.antiquant_scale).add("antiquant_offset", o.antiquant_offset);
  return list;
}

void check_operands_as_planned(Contract& c, const MatmulOperands& planned,
                               const MatmulOperands& now) {
  c.rule(now.packed_x2 == planned.packed_x2,
         "packed_x2 is another weight than planned; plan again");
  c.rule(now.antiquant_group_size == planned.antiquant_group_size,
         "antiquant_group_size {} differs from the planned {}; plan again",
         now.antiquant_group_size, planned.antiquant_group_size);
}

Scenario scenario_of(DType x1, DType x2) {
  if (is_float16_type(x1) && x1 == x2) return Scenario::kFloat;
  if (x1 == DType::kInt8 && x2 == DType::kInt8) return Scenario::kQuant;
  if (is_float16_type(x1) && (x2 == DType::kInt8 || x2 == DType::kInt4))
    return Scenario::kWeightQuant;
  return Scenario::kNone;
}

std::int64_t rows_of(const ConstTensorRef& x1) {
  std::int64_t rows = 1;
  for (int i = 0; i + 1 < x1.rank(); ++i) rows *= x1.dim(i);
  return rows;
}

void check_operands_given(Contract& c, const MatmulOperands& o) {
  c.rule(Rule::kMissing, o.x1.given(), "x1 is missing");
  c.rule(Rule::kMissing, o.weight_given(), "x2 is missing");
  c.rule(!(o.x2.given() && o.packed_x2), "x2 and packed_x2 are both given; give one of them");
  if (!c.ok()) return;
  c.rule(!o.packed_x2 || o.packed_x2->experts() == 0,
         "packed_x2 has {} experts but must be one (k, n) weight; pack one expert",
         o.packed_x2 ? o.packed_x2->experts() : 0);
  const Scenario scenario = scenario_of(o.x1.dtype(), o.weight_dtype());
  c.rule(Rule::kMissing, scenario != Scenario::kQuant || o.dequant_scale.given(),
         "{} is missing; int8 x1 and x2 need one", o.dequant_name);
  c.rule(Rule::kMissing, scenario != Scenario::kWeightQuant || o.antiquant_scale.given(),
         "antiquant_scale is missing; an {} x2 with {} x1 needs one", to_string(o.weight_dtype()),
         to_string(o.x1.dtype()));
}

void check_operand_dtypes(Contract& c, const MatmulOperands& o, DType io,
                          std::span<const DequantRow> dequant_rows) {
  const Scenario scenario = scenario_of(o.x1.dtype(), o.weight_dtype());
  c.rule(
      Rule::kDtype, scenario != Scenario::kNone,
      "there is no row for x1 {} with x2 {}; use float16 or bfloat16 for both, int8 for both, or "
      "float16 / bfloat16 x1 with int8 / int4 x2",
      to_string(o.x1.dtype()), to_string(o.weight_dtype()));
  c.rule(Rule::kDtype, is_float16_type(io), "the outputs are {} but must be float16 or bfloat16",
         to_string(io));
  if (!c.ok()) return;
  if (scenario == Scenario::kQuant)
    check_quant_dtypes(c, o, io, dequant_rows);
  else
    check_float_dtypes(c, o, io, scenario);
  c.rule(Rule::kDtype, !o.x3.given() || o.x3.dtype() == io,
         "x3 is {} but must be {} like the outputs", to_string(o.x3.dtype()), to_string(io));
  c.rule(!o.packed_x2 || scenario != Scenario::kWeightQuant,
         "packed_x2 is {} but x1 is {}; pack the restored weight or pass x2",
         to_string(o.weight_dtype()), to_string(o.x1.dtype()));
}

void check_inner_extents(Contract& c, const MatmulOperands& o) {
  c.rule(Rule::kNoAxes, o.x1.rank() > 0, "x1 has no dimensions");
  if (!c.ok()) return;
  const std::int64_t k1 = o.x1.dim(o.x1.rank() - 1);
  c.rule(Rule::kDepth, k1 == o.weight_k(),
         "the last dimension of x1 is {} but x2.dim(0) is {}; both are k", k1, o.weight_k());
}

void check_operand_shapes(Contract& c, const MatmulOperands& o) {
  check_formats(c, o);
  c.rule(Rule::kRank, o.weight_rank() == 2, "x2 is {} but must be (k, n)", shape_text(o.x2));
  c.rule(Rule::kRank, o.x1.rank() == 2 || o.x1.rank() == 3,
         "x1 is {} but must be (m, k) or (b, s, k)", shape_text(o.x1));
  if (!c.ok()) return;
  const std::int64_t m = rows_of(o.x1), k = o.weight_k(), n = o.weight_n();
  c.rule(Rule::kLimit, m <= kMaxExtent && k <= kMaxExtent && n <= kMaxExtent,
         "m, k, n are {}, {}, {} but each must be at most {}", m, k, n, kMaxExtent);
  const Scenario scenario = scenario_of(o.x1.dtype(), o.weight_dtype());
  c.rule(Rule::kLimit, scenario != Scenario::kQuant || k <= kMaxInt8Depth,
         "k is {} but must be at most {} with int8 x1 and x2 (the sums are int32); use more ranks",
         k, kMaxInt8Depth);
  c.rule(Rule::kBias, !o.bias.given() || (o.bias.rank() == 1 && o.bias.dim(0) == n),
         "bias is {} but must be (n) = ({})", o.bias.given() ? shape_text(o.bias) : "", n);
  if (scenario == Scenario::kQuant)
    c.rule(Rule::kScaleShape, is_per_tensor(o.dequant_scale) || is_per_channel(o.dequant_scale, n),
           "{} is {} but must be (1), ({}) or (1, {})", o.dequant_name, shape_text(o.dequant_scale),
           n, n);
  if (scenario == Scenario::kWeightQuant && k > 0) check_antiquant_shapes(c, o, k, n);
  c.rule(scenario == Scenario::kWeightQuant || o.antiquant_group_size == 0,
         "antiquant_group_size is {} but must be 0 without an antiquant_scale",
         o.antiquant_group_size);
  if (c.ok()) check_weight_layout(c, o);
}

}  // namespace weft::ops
