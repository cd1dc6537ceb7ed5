// SPDX-License-Identifier: Apache-2.0
// Tokens to the ranks of their experts and back.
#include "core/bindings.h"
#include "core/operators.h"
#include "weft/ops/moe_combine.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::python {
namespace {

// In the order of the fields of weft.MoeExperts.
void take_experts(Arguments& from, MoeExperts& experts) {
  from.number("experts.moe_expert_num", experts.moe_expert_num);
  from.number("experts.shared_expert_num", experts.shared_expert_num);
  from.number("experts.shared_expert_rank_num", experts.shared_expert_rank_num);
  from.choice("experts.shared_tokens", experts.shared_tokens,
              {{"by_source", SharedTokens::kBySource}, {"by_slice", SharedTokens::kBySlice}});
  from.number("experts.zero_expert_num", experts.zero_expert_num);
  from.number("experts.copy_expert_num", experts.copy_expert_num);
  from.number("experts.const_expert_num", experts.const_expert_num);
}

struct DispatchCall : BasicCall<MoeDispatch, MoeDispatchArgs> {
  static constexpr const char* kName = "moe_dispatch";
  static constexpr bool kNeedsGroup = true;
  MoeDispatchCounts counts;

  explicit DispatchCall(Arguments& from) {
    from.input("x", args.x);
    from.input("expert_ids", args.expert_ids);
    from.input("scales", args.scales);
    from.input("x_active_mask", args.x_active_mask);
    take_experts(from, args.experts);
    from.flag("tokens_are_ends", args.tokens_are_ends);
    from.output("expand_x", args.expand_x);
    from.output("dynamic_scales", args.dynamic_scales);
    from.output("assist_info_for_combine", args.assist_info_for_combine);
    from.output("expert_token_nums", args.expert_token_nums);
    from.output("ep_recv_counts", args.ep_recv_counts);
    from.output("tp_recv_counts", args.tp_recv_counts);
    pair_owner = from.group("tp_group", pair);
  }

  Result<MoeDispatch> plan(Context& context, Group* group, Group* tp_group) {
    return MoeDispatch::plan(context, *group, args, {.tp_group = tp_group, .counts = &counts});
  }
  nb::object result() const {
    return nb::make_tuple(counts.rows_sent, counts.out_of_range, counts.doubled);
  }
  void take_result(const DispatchCall& other) { counts = other.counts; }
};

void take_combine(Arguments& from, MoeCombineArgs& args) {
  from.input("expand_x", args.expand_x);
  from.input("expert_ids", args.expert_ids);
  from.input("assist_info_for_combine", args.assist_info_for_combine);
  from.input("ep_send_counts", args.ep_send_counts);
  from.input("expert_scales", args.expert_scales);
  from.input("tp_send_counts", args.tp_send_counts);
  from.input("x_active_mask", args.x_active_mask);
  from.input("shared_expert_x", args.shared_expert_x);
  from.input("ori_x", args.ori_x);
  from.input("const_expert_alpha_1", args.const_expert_alpha_1);
  from.input("const_expert_alpha_2", args.const_expert_alpha_2);
  from.input("const_expert_v", args.const_expert_v);
  take_experts(from, args.experts);
  from.flag("int8_communication", args.int8_communication);
  from.output("x", args.x);
}

struct CombineCall : BasicCall<MoeCombine, MoeCombineArgs> {
  static constexpr const char* kName = "moe_combine";
  static constexpr bool kNeedsGroup = true;

  explicit CombineCall(Arguments& from) {
    take_combine(from, args);
    pair_owner = from.group("tp_group", pair);
  }

  Result<MoeCombine> plan(Context& context, Group* group, Group* tp_group) {
    return MoeCombine::plan(context, *group, args, {.tp_group = tp_group});
  }
};

struct CombineAddRmsNormCall : BasicCall<MoeCombineAddRmsNorm, MoeCombineAddRmsNormArgs> {
  static constexpr const char* kName = "moe_combine_add_rmsnorm";
  static constexpr bool kNeedsGroup = true;

  explicit CombineAddRmsNormCall(Arguments& from) {
    take_combine(from, args.combine);
    from.input("residual_x", args.residual_x);
    from.input("gamma", args.gamma);
    double norm_eps = 0;
    from.number("norm_eps", norm_eps);
    args.norm_eps = static_cast<float>(norm_eps);
    from.output("y", args.y);
    from.output("rstd", args.rstd);
    pair_owner = from.group("tp_group", pair);
  }

  Result<MoeCombineAddRmsNorm> plan(Context& context, Group* group, Group* tp_group) {
    return MoeCombineAddRmsNorm::plan(context, *group, args, {.tp_group = tp_group});
  }
};

std::int64_t experts_of_rank(const nb::args& values) {
  Arguments from("local_expert_num", values);
  MoeExperts experts;
  take_experts(from, experts);
  std::int64_t rank = 0, ranks = 0;
  from.number("rank", rank);
  from.number("ranks", ranks);
  return local_expert_num(experts, static_cast<int>(rank), static_cast<int>(ranks));
}

}  // namespace

void bind_moe(nb::module_& module) {
  bind_operator<DispatchCall>(module);
  bind_operator<CombineCall>(module);
  bind_operator<CombineAddRmsNormCall>(module);
  module.def("local_expert_num", &experts_of_rank);
}

}  // namespace weft::python
