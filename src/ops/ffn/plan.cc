// SPDX-License-Identifier: Apache-2.0
#include "ops/ffn/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "ops/dense.h"
#include "ops/row_work.h"

namespace weft {
namespace ops {
namespace {

// Rows that pass both products together. Every block packs the weights it meets once more, so it
// must be long enough to make that cheap (matmul_collective/plan.cc); longer ones take memory.
constexpr std::int64_t kBlockRows = 2048;

// Rows of k that share a row of scales; 0: all, or one scale for everything.
std::int64_t group_size(const ConstTensorRef& scale, bool experts, std::int64_t k) {
  const int groups_axis = experts ? 1 : 0;
  if (!scale.given() || scale.rank() != groups_axis + 2 || scale.dim(groups_axis) == 1) return 0;
  return k / scale.dim(groups_axis);
}

// Scales with one group are scales per column: (…, 1, n) becomes (…, n).
ConstTensorRef without_single_group(const ConstTensorRef& scale, bool experts) {
  const int groups_axis = experts ? 1 : 0;
  if (!scale.given() || scale.rank() != groups_axis + 2 || scale.dim(groups_axis) != 1)
    return scale;
  if (!experts) return slice(scale, 0);
  const std::int64_t dims[] = {scale.dim(0), scale.dim(2)};
  const std::int64_t strides[] = {scale.stride(0), scale.stride(2)};
  return ConstTensorRef(scale.data(), scale.dtype(), dims, strides);
}

activation::Form form_of(const FfnArgs& a) {
  using activation::Form;
  const bool fp16 = a.y.dtype() == DType::kFloat16;
  switch (scenario_of(a)) {
    case Scenario::kQuant:
      return fp16 ? Form::kInt8Steps : Form::kInt8;
    case Scenario::kWeightQuant:
      return fp16 ? Form::kFloat16Steps : Form::kBFloat16;
    default:
      if (!fp16) return Form::kBFloat16;
      return a.inner_precise == InnerPrecise::kHighPerformance ? Form::kFloat16Steps
                                                               : Form::kFloat16;
  }
}

WeightOperands weight_operands(const FfnArgs& a, const ConstTensorRef& weight,
                               const PackedWeight* packed) {
  WeightOperands operands;
  operands.weight = weight;
  operands.packed = packed;
  operands.truncate_dequant_scale = a.y.dtype() == DType::kFloat16;
  return operands;
}

void add_antiquant(WeightOperands& operands, const ConstTensorRef& scale,
                   const ConstTensorRef& offset) {
  const bool experts = operands.has_experts();
  operands.group_size = group_size(scale, experts, operands.k());
  operands.antiquant_scale = without_single_group(scale, experts);
  operands.antiquant_offset = without_single_group(offset, experts);
}

}  // namespace

WeightOperands first_weight(const FfnArgs& a) {
  WeightOperands operands = weight_operands(a, a.weight1, a.packed_weight1);
  operands.bias = a.bias1;
  operands.dequant_scale = a.deq_scale1;
  add_antiquant(operands, a.antiquant_scale1, a.antiquant_offset1);
  return operands;
}

WeightOperands second_weight(const FfnArgs& a) {
  WeightOperands operands = weight_operands(a, a.weight2, a.packed_weight2);
  operands.bias = a.bias2;
  operands.dequant_scale = a.deq_scale2;
  add_antiquant(operands, a.antiquant_scale2, a.antiquant_offset2);
  return operands;
}

namespace {

// Both products and all scratch.
Status plan_products(internal::FfnPlan& plan) {
  const FfnArgs& args = plan.args;
  const FfnShape& s = plan.shape;
  const std::int64_t experts = s.has_experts() ? s.experts : 1;
  const std::int64_t parts = std::min(experts, plan.block_rows);
  const DType a_dtype = args.x.dtype();
  WEFT_ASSIGN_OR_RETURN(plan.first, GroupedMatmul::plan(plan.context, first_weight(args),
                                                        {.x = a_dtype,
                                                         .io = plan.io,
                                                         .max_rows = plan.block_rows,
                                                         .max_groups = parts,
                                                         .sides = has_gate(args.activation) ? 2 : 1,
                                                         .packed_name = "packed_weight1"}));
  WEFT_ASSIGN_OR_RETURN(plan.second, GroupedMatmul::plan(plan.context, second_weight(args),
                                                         {.x = a_dtype,
                                                          .io = plan.io,
                                                          .max_rows = plan.block_rows,
                                                          .max_groups = parts,
                                                          .packed_name = "packed_weight2"}));
  // A line more: rows a power of two apart would share sets of L1.
  plan.a_row_bytes = round_up(bytes_of(a_dtype, s.k2), kCacheLine) + kCacheLine;
  ScratchPool& scratch = plan.context.scratch;
  WEFT_ASSIGN_OR_RETURN(
      plan.a, scratch.reserve(ScratchFor::kActivation, plan.block_rows * plan.a_row_bytes));
  if (args.scale.given()) {
    plan.quant_bytes = round_up(4 * std::max<std::int64_t>(s.k2, 1), kCacheLine);
    WEFT_ASSIGN_OR_RETURN(plan.quant,
                          scratch.reserve(ScratchFor::kQuantScales, parts * plan.quant_bytes));
  }
  const int last = args.y.rank() - 1;
  if (args.y.dim(last) > 1 && args.y.stride(last) != 1) {
    WEFT_ASSIGN_OR_RETURN(plan.dense_y,
                          scratch.reserve(ScratchFor::kOutputRows, plan.block_rows * s.n2 * 2));
  }
  plan.parts.reserve(static_cast<size_t>(parts));
  plan.groups.reserve(static_cast<size_t>(parts));
  return {};
}

// Where the rows of each expert end. The values are read once: what is checked is what is used,
// whatever another thread does to them.
Status set_ends(internal::FfnPlan& plan, const FfnArgs& args) {
  std::vector<std::int64_t>& ends = plan.ends;
  ends.clear();
  if (!plan.shape.has_experts()) {
    ends.push_back(plan.shape.m);
    return {};
  }
  const auto* tokens = static_cast<const std::int64_t*>(args.expert_tokens.data());
  const std::int64_t stride = args.expert_tokens.stride(0);
  for (std::int64_t e = 0; e < plan.shape.experts; ++e) ends.push_back(tokens[e * stride]);
  WEFT_RETURN_IF_ERROR(
      check_expert_tokens(ends.data(), plan.shape.experts, 1, args.tokens_are_ends, plan.shape.m));
  if (!args.tokens_are_ends) std::partial_sum(ends.begin(), ends.end(), ends.begin());
  return {};
}

}  // namespace
}  // namespace ops

Ffn::Ffn(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
Ffn::Ffn(Ffn&&) noexcept = default;
Ffn& Ffn::operator=(Ffn&&) noexcept = default;
Ffn::~Ffn() = default;

Result<Ffn> Ffn::plan(Context& context, const FfnArgs& args, const FfnOptions& options) {
  WEFT_RETURN_IF_ERROR(ops::check_plan(args));
  const ops::FfnShape shape = ops::shape_of(args);
  auto plan = std::make_unique<Plan>(
      Plan{.context = context.state(),
           .args = args,
           .options = options,
           .shape = shape,
           .io = args.y.dtype(),
           .block_rows = std::min(shape.m, ops::kBlockRows),
           .activate = activation::select(ops::form_of(args), ops::function_of(args.activation),
                                          has_gate(args.activation), context.state().isa),
           .store = 2 * shape.m * shape.n2 > ops::kStreamBytes ? rows::Store::kStream
                                                               : rows::Store::kPlain});
  plan->ends.reserve(static_cast<size_t>(shape.has_experts() ? shape.experts : 1));
  if (shape.m > 0) WEFT_RETURN_IF_ERROR(ops::plan_products(*plan));
  return Ffn(std::move(plan));
}

Status Ffn::run(const FfnArgs& args) {
  WEFT_RETURN_IF_ERROR(ops::check_run(plan_->args, args));
  WEFT_RETURN_IF_ERROR(ops::set_ends(*plan_, args));
  if (plan_->shape.m > 0 && plan_->shape.n2 > 0) ops::run_rows(*plan_, args);
  return {};
}

std::string Ffn::describe() const {
  const Plan& p = *plan_;
  const ops::FfnShape& s = p.shape;
  if (s.m == 0) return "nothing to compute: there are no rows\n";
  const std::int64_t scratch = p.first.scratch_bytes() + p.second.scratch_bytes() + p.a.bytes() +
                               p.quant.bytes() + p.dense_y.bytes();
  return fmt::format("shape     {} rows: {} -> {} -> {}, {}\n", s.m, s.k1, s.n1, s.n2,
                     s.has_experts() ? fmt::format("{} experts", s.experts) : "dense") +
         p.first.describe("weight1") + p.second.describe("weight2") +
         fmt::format(
             "between   {}{}, {}\nthreads   {}\nrows      {} at a time\nscratch   {:.1f} "
             "MiB\n",
             to_string(p.args.activation),
             !has_gate(p.args.activation) ? ""
             : p.options.gate_is_left     ? " (the left half is the gate)"
                                          : " (the right half is the gate)",
             activation::name(p.context.isa), p.context.pool.threads(), p.block_rows,
             static_cast<double>(scratch) / (1 << 20));
}

Status ffn(Context& context, const FfnArgs& args, const FfnOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto plan, Ffn::plan(context, args, options));
  return plan.run(args);
}

}  // namespace weft
