// SPDX-License-Identifier: Apache-2.0
#include "aclnn_moe_combine.h"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#include "aclnn_moe_first_version.h"
#include "ops/moe_combine/contract.h"
#include "ops/moe_combine_add_rmsnorm/contract.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"

namespace weft::cann {
namespace {

using Operands = MoeCombineOperands;

constexpr int kTiling = ACLNN_ERR_INNER_TILING_ERROR;
constexpr std::int64_t kOrigin = 3, kPlaceOfOrigin = 128;  // of a row in assistInfoForCombine

MoeCombineArgs& combine_of(MoeCombineArgs& args) { return args; }
MoeCombineArgs& combine_of(MoeCombineAddRmsNormArgs& args) { return args.combine; }

template <typename Op, typename OpArgs, typename Options>
struct CombineTask : MoeTask {
  using Args = OpArgs;
  MoeNative<Op, Args, Options> native;
  std::unique_ptr<Route> route;  // of the first version

  Status check_plan(int rank, int ranks, bool with_tp) const override {
    if (route) WEFT_RETURN_IF_ERROR(route->check_plan(rank, ranks, with_tp));
    return ops::check_plan(native.args, rank, ranks, with_tp);
  }
  Status check_run(int rank) const override {
    if (route) WEFT_RETURN_IF_ERROR(route->check_run(rank));
    return ops::check_run(native.args, native.args, rank);
  }
  Status plan() override {
    if (route) WEFT_RETURN_IF_ERROR(route->plan(*this));
    return native.plan(*this, combine_of(native.args).expert_ids.dim(0));
  }

 private:
  Status call() override {
    if (route) WEFT_RETURN_IF_ERROR(route->run());
    return native.run();
  }
};
using Combine = CombineTask<MoeCombine, MoeCombineArgs, MoeCombineOptions>;
using AddRmsNorm = CombineTask<MoeCombineAddRmsNorm, MoeCombineAddRmsNormArgs, MoeCombineOptions>;

constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kFloat = DType::kFloat32,
                kInt = DType::kInt32;

void check_wrapper(MoeCall& call, const Operands& o) {
  call.check_given({{"expandX", o.expand_x},
                    {"expertIds", o.expert_ids},
                    {call.with.first_version ? "expandIdx" : "assistInfoForCombine", o.route},
                    {"epSendCounts", o.ep_send_counts},
                    {"expertScales", o.expert_scales},
                    {"x", o.x}});
  call.check_groups();
}

/// Views of what combine has in all its forms. int32 rows have a row in CANN's tables, too.
TensorRef look_at_combine(MoeCall& call, const Operands& o, MoeCombineArgs& a) {
  a.expert_ids = call.look("expertIds", o.expert_ids, {kInt}, 2, 2);
  const char* const name = call.with.first_version ? "expandIdx" : "assistInfoForCombine";
  const TensorRef route = call.look(name, o.route, {kInt}, 1, 1);
  a.ep_send_counts = call.look("epSendCounts", o.ep_send_counts, {kInt}, 1, 1);
  a.expert_scales = call.look("expertScales", o.expert_scales, {kFloat}, 2, 2);
  a.tp_send_counts = call.look("tpSendCounts", o.tp_send_counts, {kInt}, 1, 1);
  a.x_active_mask = call.look("xActiveMask", o.x_active_mask, {DType::kBool}, 1, 2);
  call.look("expandScales", o.expand_scales, {kFloat}, 0, kMaxDims);
  return route;
}

TensorRef look_at_operands(MoeCall& call, const Operands& o, Combine& task) {
  MoeCombineArgs& a = task.native.args;
  a.expand_x = call.look("expandX", o.expand_x, {kHalf, kBrain, kInt}, 2, 2);
  const TensorRef route = look_at_combine(call, o, a);
  a.shared_expert_x = call.look("sharedExpertX", o.shared_expert_x, {kHalf, kBrain}, 2, 3);
  a.ori_x = call.look("oriX", o.ori_x, {kHalf, kBrain}, 2, 2);
  a.const_expert_alpha_1 = call.look("constExpertAlpha1", o.alpha_1, {kHalf, kBrain}, 1, 2);
  a.const_expert_alpha_2 = call.look("constExpertAlpha2", o.alpha_2, {kHalf, kBrain}, 1, 2);
  a.const_expert_v = call.look("constExpertV", o.const_v, {kHalf, kBrain}, 2, 2);
  a.x = call.look("x", o.x, {kHalf, kBrain}, 2, 2);
  call.check_rows_dtype(o.expand_x, kInt, o.x);
  return route;
}

TensorRef look_at_operands(MoeCall& call, const Operands& o, AddRmsNorm& task) {
  MoeCombineAddRmsNormArgs& args = task.native.args;
  MoeCombineArgs& a = args.combine;
  a.expand_x = call.look("expandX", o.expand_x, {kBrain}, 2, 2);
  const TensorRef route = look_at_combine(call, o, a);
  a.shared_expert_x = call.look("sharedExpertX", o.shared_expert_x, {kBrain}, 2, 3);
  a.ori_x = call.look("oriX", o.ori_x, {kBrain}, 2, 2);
  a.const_expert_alpha_1 = call.look("constExpertAlpha1", o.alpha_1, {kBrain}, 1, 2);
  a.const_expert_alpha_2 = call.look("constExpertAlpha2", o.alpha_2, {kBrain}, 1, 2);
  a.const_expert_v = call.look("constExpertV", o.const_v, {kBrain}, 2, 2);
  a.x = call.look("x", o.x, {kBrain}, 3, 3);
  args.residual_x = call.required("residualX", o.residual_x, {kBrain}, 3, 3);
  args.gamma = call.required("gamma", o.gamma, {kBrain}, 1, 1);
  args.y = call.required("y", o.y, {kBrain}, 3, 3);
  args.rstd = call.required("rstd", o.rstd, {kFloat}, 3, 3);
  args.norm_eps = o.norm_eps;
  return route;
}

void check_special_experts(MoeCall& call, const MoeCombineArgs& a) {
  Findings& findings = call.findings;
  const MoeAttributes& with = call.with;
  findings.require(a.ori_x.given() || with.copy_expert_num + with.const_expert_num == 0, kTiling,
                   "oriX is null, but copyExpertNum is {} and constExpertNum {}",
                   with.copy_expert_num, with.const_expert_num);
  findings.require((a.const_expert_alpha_1.given() && a.const_expert_alpha_2.given() &&
                    a.const_expert_v.given()) ||
                       with.const_expert_num == 0,
                   kTiling,
                   "constExpertNum is {}, but constExpertAlpha1, constExpertAlpha2 or constExpertV "
                   "is null",
                   with.const_expert_num);
}

void check_attributes(MoeCall& call, const Operands& o, const MoeCombineArgs& a) {
  Findings& findings = call.findings;
  call.check_attributes();
  call.zero_or_two("commQuantMode", o.comm_quant_mode);
  findings.require(o.comm_quant_mode != 2 || !call.tp(), kTiling,
                   "commQuantMode is 2 but must be 0 with tpWorldSize 2");
  findings.require(a.expand_x.dtype() != kInt, kTiling,
                   "expandX is int32 but must be float16 or bfloat16");
  for (const auto& [name, handle] :
       {std::pair{"activationScale", o.activation_scale}, std::pair{"weightScale", o.weight_scale},
        std::pair{"groupList", o.group_list}})
    findings.require(!handle, kTiling, "{} is given but must be null", name);
  const ConstTensorRef& shared = a.shared_expert_x;
  findings.require(!shared.given() || call.with.shared_expert_rank_num == 0, kTiling,
                   "sharedExpertX is given, but sharedExpertRankNum is {}: shared experts are on "
                   "ranks, pass null",
                   call.with.shared_expert_rank_num);
  findings.require(!shared.given() || shared.dtype() == a.expand_x.dtype(), kTiling,
                   "sharedExpertX is {} but must be {} like expandX", to_string(shared.dtype()),
                   to_string(a.expand_x.dtype()));
  check_special_experts(call, a);
}

/// Also leaves the operands as weft wants them.
MoeSizes check_extents(MoeCall& call, MoeCombineArgs& a, const TensorRef& route) {
  const MoeSizes sizes = call.check_sizes(a.expert_ids, a.expand_x, a.x_active_mask);
  if (call.findings.any()) return sizes;
  call.at_least("expandX", a.expand_x, sizes.capacity * call.tp_ranks());
  call.check_tp_counts("tpSendCounts", a.tp_send_counts);
  if (!call.tp()) a.tp_send_counts = {};
  call.check_buffer(sizes);
  if (call.with.first_version) {
    call.findings.require(route.dim(0) == sizes.tokens * sizes.k, kTiling,
                          "expandIdx has {} elements but must have {}, those of expertIds",
                          route.dim(0), sizes.tokens * sizes.k);
    return sizes;
  }
  call.at_least("assistInfoForCombine", route, kPlaceOfOrigin * sizes.capacity);
  if (call.findings.any()) return sizes;
  a.assist_info_for_combine = route;
  a.expand_x = first_rows(a.expand_x, std::min(a.expand_x.dim(0), route.dim(0) / kOrigin));
  return sizes;
}

void check_norm_shapes(MoeCall&, const MoeCombineArgs&) {}
void check_norm_shapes(MoeCall& call, const MoeCombineAddRmsNormArgs& a) {
  const std::pair<const char*, ConstTensorRef> tensors[] = {
      {"residualX", a.residual_x}, {"y", a.y}, {"x", a.combine.x}, {"rstd", a.rstd}};
  for (const auto& [name, tensor] : tensors)
    call.findings.require(tensor.dim(1) == 1, kTiling,
                          "{} has {} along its second axis but must have 1", name, tensor.dim(1));
  call.findings.require(a.rstd.dim(2) == 1, kTiling,
                        "rstd has {} along its last axis but must have 1", a.rstd.dim(2));
}

template <typename Task>
void use_route(MoeCall& call, Task& task, std::int64_t local) {
  MoeCombineArgs& a = combine_of(task.native.args);
  const std::int64_t own = call.with.ep_rank_id < call.with.shared_expert_rank_num ? 1 : local;
  call.at_least("epSendCounts", a.ep_send_counts, call.with.ep_world_size * own * call.tp_ranks());
  task.route = std::make_unique<Route>();
  task.route->ep_send_counts = a.ep_send_counts;
  task.gathered.dense(task.route->ep_send_counts);
  task.route->prepare(a, own, static_cast<int>(call.with.ep_world_size), call.tp());
}

void gather(Gathered& gathered, MoeCombineArgs& a, bool tp) {
  if (tp) gathered.dense(a.expand_x);
  for (auto operand : {&MoeCombineArgs::expand_x, &MoeCombineArgs::shared_expert_x,
                       &MoeCombineArgs::ori_x, &MoeCombineArgs::const_expert_v})
    gathered.rows(a.*operand);
  for (auto operand : {&MoeCombineArgs::assist_info_for_combine, &MoeCombineArgs::ep_send_counts,
                       &MoeCombineArgs::tp_send_counts, &MoeCombineArgs::const_expert_alpha_1,
                       &MoeCombineArgs::const_expert_alpha_2})
    gathered.dense(a.*operand);
}

template <typename Task>
aclnnStatus prepare(const MoeAttributes& attributes, const Operands& o) {
  MoeCall call(attributes);
  check_wrapper(call, o);
  if (call.findings.any()) return call.findings.report();
  const auto task = std::make_shared<Task>();
  typename Task::Args& args = task->native.args;
  MoeCombineArgs& combine = combine_of(args);
  const TensorRef route = look_at_operands(call, o, *task);
  task->elastic_info = call.look_at_elastic_info();
  if (call.findings.any()) return call.findings.report();
  check_attributes(call, o, combine);
  if (call.findings.any()) return call.findings.report();
  const MoeSizes sizes = check_extents(call, combine, route);
  check_norm_shapes(call, args);
  combine.experts = call.experts();
  combine.int8_communication = o.comm_quant_mode == 2;
  if (!call.findings.any() && attributes.first_version) use_route(call, *task, sizes.local);
  if (call.findings.any()) return call.findings.report();
  gather(task->gathered, combine, call.tp());
  if constexpr (std::is_same_v<Task, AddRmsNorm>) task->gathered.rows(args.residual_x);
  return call.finish(task);
}

}  // namespace

aclnnStatus moe_combine(const MoeAttributes& attributes, const Operands& o) {
  return first_phase(attributes.op, [&] { return prepare<Combine>(attributes, o); });
}

aclnnStatus moe_combine_add_rms_norm(const MoeAttributes& attributes, const Operands& o) {
  return first_phase(attributes.op, [&] { return prepare<AddRmsNorm>(attributes, o); });
}

}  // namespace weft::cann
