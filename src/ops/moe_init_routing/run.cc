// SPDX-License-Identifier: Apache-2.0
// The calling thread sorts, which is little beside the copies; all threads copy rows.
#include <algorithm>
#include <cstring>

#include "ops/moe_init_routing/plan.h"
#include "ops/moe_routing/stable_sort.h"
#include "ops/row_work.h"

namespace weft::ops {

Status run_routing(internal::MoeInitRoutingPlan& plan, const MoeInitRoutingArgs& args) {
  plan.x.bind(args.x);
  plan.row_idx.bind(args.row_idx);
  plan.expert_idx.bind(args.expert_idx);
  plan.expanded_x.bind(args.expanded_x);
  const auto* const places = plan.row_idx.as<std::int32_t>(0);
  const auto* const ids = plan.expert_idx.as<std::int32_t>(0);
  WEFT_RETURN_IF_ERROR(check_row_idx(places, plan.pairs));
  auto* const items = static_cast<IdAndPayload*>(static_cast<void*>(plan.scratch.data()));
  for (std::int64_t f = 0; f < plan.pairs; ++f) items[f] = {ids[f], places[f]};
  const IdAndPayload* const sorted = stable_sort_by_id(items, items + plan.pairs, plan.pairs);
  auto* const sorted_ids = static_cast<std::int32_t*>(args.expanded_expert_idx.data());
  auto* const row_of = static_cast<std::int32_t*>(args.expanded_row_idx.data());
  for (std::int64_t i = 0; i < plan.pairs; ++i) {
    sorted_ids[i] = sorted[i].id;
    row_of[sorted[i].payload] = static_cast<std::int32_t>(i);
  }
  const auto body = [&](std::int64_t batch, int) {
    const std::int64_t begin = batch * plan.batch, end = std::min(begin + plan.batch, plan.rows);
    for (std::int64_t i = begin; i < end; ++i)
      std::memcpy(plan.expanded_x[i], plan.x[sorted[i].payload % plan.n],
                  static_cast<std::size_t>(plan.row_bytes));
  };
  if (plan.row_bytes > 0)
    plan.context.pool.parallel_for(ceil_div(plan.rows, plan.batch), body,
                                   ns_of_bytes(2 * plan.rows * plan.row_bytes));
  return {};
}

}  // namespace weft::ops
