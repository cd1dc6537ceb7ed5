// SPDX-License-Identifier: Apache-2.0
// What the MoE operators say of their experts to the other ranks and to people, and how their calls
// begin.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "comm/group_state.h"
#include "tile/row_exchange.h"
#include "weft/group.h"
#include "weft/ops/moe_experts.h"
#include "weft/trace.h"

namespace weft::ops {

internal::CallHeader& add_experts(internal::CallHeader& header, const MoeExperts& experts, bool tp);

/// Two lines for describe().
std::string describe_experts(const MoeExperts& experts, const internal::GroupState& group);

/// A TP group that is given has two ranks.
Status check_pair(std::string_view op, int rank, const Group* tp_group);

/// What a run comes to. With TP an error is one of both groups: ranks of the other one may be
/// waiting for this rank, now or in their next call.
Status end_of_run(internal::GroupState& group, Group* tp_group, const Status& status);

/// Rows of `row_bytes` in the group's windows, at least `least_rows` of them at once.
Result<tile::RowLayout> make_layout(std::string_view op, const internal::GroupState& group,
                                    std::int64_t head_bytes, std::int64_t row_bytes,
                                    std::int64_t least_rows);

/// begin_call and check_peers. A trace gets the wait for each rank apart.
Status begin_and_check(internal::GroupState& group, const internal::CallHeader& header,
                       Trace* trace);

}  // namespace weft::ops
