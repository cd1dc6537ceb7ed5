// SPDX-License-Identifier: Apache-2.0
// One pass: the rows of a token are read once, side by side, and its sum is written once.
#include <algorithm>

#include "base/float16.h"
#include "ops/moe_finalize_routing/plan.h"
#include "ops/row_work.h"

namespace weft::ops {
namespace {

using Plan = internal::MoeFinalizeRoutingPlan;

float scale_at(const Plan& plan, std::int64_t f) {
  const DType type = plan.args.scales.dtype();
  if (type == DType::kFloat32) return plan.scales.as<float>(0)[f];
  const std::uint16_t bits = plan.scales.as<std::uint16_t>(0)[f];
  return type == DType::kFloat16 ? fp16_to_f32(bits) : bf16_to_f32(bits);
}

/// What a thread keeps of one token.
struct Scratch {
  Scratch(const Plan& plan, int thread) {
    std::byte* const base = plan.scratch.data() + thread * plan.thread_bytes;
    row = static_cast<const void**>(static_cast<void*>(base));
    bias = static_cast<const void**>(static_cast<void*>(base + plan.pointer_bytes));
    scale = static_cast<float*>(static_cast<void*>(base + 2 * plan.pointer_bytes));
  }
  const void** row;
  const void** bias;
  float* scale;
};

void run_row(const Plan& plan, std::int64_t i, const Scratch& scratch) {
  const FinalizeShape& s = plan.shape;
  std::int64_t count = 0;
  for (std::int64_t j = 0; j < s.k; ++j) {
    const std::int32_t row =
        plan.expanded_row_idx.as<std::int32_t>(0)[place_of(s, plan.args.order, i, j)];
    if (row < 0) continue;
    scratch.row[count] = plan.expanded_x[row];
    if (plan.bias.given())
      scratch.bias[count] = plan.bias[plan.expert_idx.as<std::int32_t>(0)[i * s.k + j]];
    if (plan.scales.given()) scratch.scale[count] = scale_at(plan, i * s.k + j);
    ++count;
  }
  plan.kernels.combine_row({.n = s.h,
                            .count = count,
                            .row = scratch.row,
                            .bias = plan.bias.given() ? scratch.bias : nullptr,
                            .scale = plan.scales.given() ? scratch.scale : nullptr,
                            .x1 = plan.x1.given() ? plan.x1[i] : nullptr,
                            .x2 = plan.x2.given() ? plan.x2[i] : nullptr,
                            .out = plan.out[i],
                            .store = plan.store});
}

}  // namespace

Status run_rows(Plan& plan, const MoeFinalizeRoutingArgs& args) {
  plan.expanded_row_idx.bind(args.expanded_row_idx);
  plan.expert_idx.bind(args.expert_idx);
  if (plan.shape.k > 0) {
    WEFT_RETURN_IF_ERROR(
        check_indices(plan.shape, plan.args.order, plan.expanded_row_idx.as<std::int32_t>(0),
                      plan.bias.given() ? plan.expert_idx.as<std::int32_t>(0) : nullptr));
  }
  plan.expanded_x.bind(args.expanded_x);
  plan.x1.bind(args.x1);
  plan.x2.bind(args.x2);
  plan.bias.bind(args.bias);
  plan.scales.bind(args.scales);
  plan.out.bind(args.out);
  const auto body = [&](std::int64_t batch, int thread) {
    const Scratch scratch(plan, thread);
    const std::int64_t begin = batch * plan.batch, end = std::min(begin + plan.batch, plan.shape.n);
    for (std::int64_t i = begin; i < end; ++i) run_row(plan, i, scratch);
    rows::stream_fence();
  };
  const std::int64_t bytes = bytes_of(plan.args.out.dtype(), plan.shape.n * plan.shape.h);
  plan.context.pool.parallel_for(ceil_div(plan.shape.n, plan.batch), body,
                                 ns_of_bytes((plan.shape.k + 1) * bytes));
  return {};
}

}  // namespace weft::ops
