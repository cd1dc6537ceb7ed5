// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/float16.h"
#include "ops/moe_gating_topk_softmax/plan.h"

namespace weft::ops {
namespace {

void store(DType type, void* row, std::int64_t j, float value) {
  if (type == DType::kFloat32)
    static_cast<float*>(row)[j] = value;
  else
    static_cast<std::uint16_t*>(row)[j] =
        type == DType::kFloat16 ? f32_to_fp16(value) : f32_to_bf16(value);
}

void run_row(const internal::MoeGatingTopkSoftmaxPlan& plan, std::int64_t i, std::byte* scratch) {
  auto* p = static_cast<float*>(static_cast<void*>(scratch));
  auto* keys = static_cast<std::uint64_t*>(static_cast<void*>(scratch + plan.p_bytes));
  const std::int64_t k = plan.args.k;
  plan.kernels.softmax_row(plan.x[i], plan.experts, p);
  void* const y = plan.y[i];
  auto* const experts = plan.expert_idx.as<std::int32_t>(i);
  auto* const rows = plan.row_idx.as<std::int32_t>(i);
  plan.kernels.top_k(p, plan.experts, k, keys, experts);
  for (std::int64_t j = 0; j < k; ++j) {
    store(plan.args.x.dtype(), y, j, p[experts[j]]);
    rows[j] = static_cast<std::int32_t>(j * plan.tokens + i);
  }
  if (plan.finished.given() && *plan.finished.as<std::uint8_t>(i) != 0)
    std::fill_n(experts, k, static_cast<std::int32_t>(plan.experts));
}

}  // namespace

void run_rows(internal::MoeGatingTopkSoftmaxPlan& plan, const MoeGatingTopkSoftmaxArgs& args) {
  plan.x.bind(args.x);
  plan.finished.bind(args.finished);
  plan.y.bind(args.y);
  plan.expert_idx.bind(args.expert_idx);
  plan.row_idx.bind(args.row_idx);
  const auto body = [&](std::int64_t batch, int thread) {
    std::byte* const scratch = plan.scratch.data() + thread * plan.thread_bytes;
    const std::int64_t begin = batch * plan.batch, end = std::min(begin + plan.batch, plan.tokens);
    for (std::int64_t i = begin; i < end; ++i) run_row(plan, i, scratch);
  };
  plan.context.pool.parallel_for(ceil_div(plan.tokens, plan.batch), body);
}

}  // namespace weft::ops
