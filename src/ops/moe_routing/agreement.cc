// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_routing/agreement.h"

#include <fmt/core.h>

#include "ops/rules.h"
#include "ops/traced.h"

namespace weft::ops {

internal::CallHeader& add_experts(internal::CallHeader& header, const MoeExperts& e, bool tp) {
  return header.add("moe_expert_num", e.moe_expert_num)
      .add("shared_expert_num", e.shared_expert_num)
      .add("shared_expert_rank_num", e.shared_expert_rank_num)
      .add("shared_tokens", e.shared_tokens == SharedTokens::kBySource ? "by source" : "by slice")
      .add("zero_expert_num", e.zero_expert_num)
      .add("copy_expert_num", e.copy_expert_num)
      .add("const_expert_num", e.const_expert_num)
      .add("TP", tp ? "yes" : "no");
}

std::string describe_experts(const MoeExperts& e, const internal::GroupState& group) {
  return fmt::format("ranks     {} over {}\n", group.ranks(), group.transport_name()) +
         fmt::format("experts   {} on {} ranks, {} shared on {}; {} zero, {} copy, {} const\n",
                     e.moe_expert_num, group.ranks() - e.shared_expert_rank_num,
                     e.shared_expert_num, e.shared_expert_rank_num, e.zero_expert_num,
                     e.copy_expert_num, e.const_expert_num);
}

Status check_pair(std::string_view op, int rank, const Group* tp_group) {
  if (!tp_group || tp_group->ranks() == 2) return {};
  return Status(StatusCode::kInvalidArgument,
                fmt::format("{} (rank {}): options.tp_group has {} ranks but must have 2", op, rank,
                            tp_group->ranks()),
                static_cast<int>(Rule::kExperts));
}

Status end_of_run(internal::GroupState& group, Group* tp_group, const Status& status) {
  if (status.ok() || !tp_group) return status;
  static_cast<void>(tp_group->state().poison(status));
  return group.poison(status);
}

Result<tile::RowLayout> make_layout(std::string_view op, const internal::GroupState& group,
                                    std::int64_t head_bytes, std::int64_t row_bytes,
                                    std::int64_t least_rows) {
  auto layout =
      tile::RowLayout::make(head_bytes, row_bytes, least_rows, group.ranks(), group.window_bytes());
  if (layout.ok()) return layout;
  return Status(layout.status().code(),
                fmt::format("{} (rank {}): {}", op, group.rank(), layout.status().message()));
}

Status begin_and_check(internal::GroupState& group, const internal::CallHeader& header,
                       Trace* trace) {
  using internal::CounterId;
  WEFT_RETURN_IF_ERROR(group.begin_call(header));
  for (int i = 1; trace && i < group.ranks(); ++i) {
    const int peer = (group.rank() + i) % group.ranks();
    const Traced wait(trace, TraceKind::kWait, -1, peer);
    WEFT_RETURN_IF_ERROR(
        group.wait(peer, CounterId::kCall, group.own(CounterId::kCall), {"the start of the call"}));
  }
  return group.check_peers();
}

}  // namespace weft::ops
