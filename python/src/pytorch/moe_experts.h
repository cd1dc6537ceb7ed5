// SPDX-License-Identifier: Apache-2.0
// What moe_dispatch and moe_combine share: the experts of a layer, and the second group of TP.
#pragma once

#include <optional>
#include <string_view>

#include "pytorch/tensors.h"
#include "weft/ops/moe_experts.h"

namespace weft::python {

/// Of a schema: the fields of MoeExperts, and tp_group.
inline constexpr char kExpertsSchema[] =
    "int shared_expert_num=0, int shared_expert_rank_num=0, str shared_tokens='by_source', int "
    "zero_expert_num=0, int copy_expert_num=0, int const_expert_num=0, str? tp_group=None";

MoeExperts moe_experts(std::int64_t moe_expert_num, std::int64_t shared_expert_num,
                       std::int64_t shared_expert_rank_num, std::string_view shared_tokens,
                       std::int64_t zero_expert_num, std::int64_t copy_expert_num,
                       std::int64_t const_expert_num);

/// local_expert_num of this rank; 0 for experts that the operator will refuse.
std::int64_t local_experts(const MoeExperts& experts, const Communicator& group);

/// call(context, group, the group of TP or null) on both communicators; raises its error.
void run_with_tp(std::string_view group, std::optional<std::string_view> tp_group,
                 const std::function<Status(Context&, Group&, Group*)>& call);

}  // namespace weft::python
