// SPDX-License-Identifier: Apache-2.0
#include "pytorch/moe_experts.h"

namespace weft::python {
namespace {

SharedTokens shared_tokens_of(std::string_view name) {
  if (name == "by_source") return SharedTokens::kBySource;
  if (name == "by_slice") return SharedTokens::kBySlice;
  refuse_operand("shared_tokens",
                 "is '" + std::string(name) + "' but must be by_source or by_slice");
}

}  // namespace

MoeExperts moe_experts(std::int64_t moe_expert_num, std::int64_t shared_expert_num,
                       std::int64_t shared_expert_rank_num, std::string_view shared_tokens,
                       std::int64_t zero_expert_num, std::int64_t copy_expert_num,
                       std::int64_t const_expert_num) {
  return {.moe_expert_num = moe_expert_num,
          .shared_expert_num = shared_expert_num,
          .shared_expert_rank_num = shared_expert_rank_num,
          .shared_tokens = shared_tokens_of(shared_tokens),
          .zero_expert_num = zero_expert_num,
          .copy_expert_num = copy_expert_num,
          .const_expert_num = const_expert_num};
}

std::int64_t local_experts(const MoeExperts& experts, const Communicator& group) {
  const bool possible = experts.moe_expert_num > 0 && experts.shared_expert_rank_num >= 0 &&
                        experts.shared_expert_rank_num < group.ranks();
  return possible ? local_expert_num(experts, group.rank(), group.ranks()) : 0;
}

void run_with_tp(std::string_view group, std::optional<std::string_view> tp_group,
                 const std::function<Status(Context&, Group&, Group*)>& call) {
  if (!tp_group)
    return run(group,
               [&](Context& context, Group& ranks) { return call(context, ranks, nullptr); });
  const std::shared_ptr<Communicator> pair = communicator(*tp_group);
  run(group, [&](Context& context, Group& ranks) {
    return pair->run([&](Context&, Group& tp_ranks) { return call(context, ranks, &tp_ranks); });
  });
}

}  // namespace weft::python
