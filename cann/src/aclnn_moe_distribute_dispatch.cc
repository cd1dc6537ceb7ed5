// SPDX-License-Identifier: Apache-2.0
// aclnnMoeDistributeDispatch, V2, V3.
#include "aclnnop/aclnn_moe_distribute_dispatch.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "aclnn_moe_distribute.h"
#include "aclnn_moe_first_version.h"
#include "aclnnop/aclnn_moe_distribute_dispatch_v2.h"
#include "aclnnop/aclnn_moe_distribute_dispatch_v3.h"
#include "base/log.h"
#include "ops/moe_dispatch/contract.h"

using namespace weft;
using namespace weft::cann;

namespace {

constexpr std::int64_t kOrigin = 3;  // numbers that assistInfoForCombine has of a row
constexpr int kTiling = ACLNN_ERR_INNER_TILING_ERROR;

/// The operands and the attributes that combine does not have.
struct Operands {
  const aclTensor *x, *expert_ids, *scales, *x_active_mask, *expert_scales;
  std::int64_t quant_mode, expert_token_nums_type;
  const char* comm_alg;
  const aclTensor *expand_x, *dynamic_scales;
  const aclTensor* route;  // assistInfoForCombine, in the first version expandIdx
  const aclTensor *expert_token_nums, *ep_recv_counts, *tp_recv_counts, *expand_scales;

  bool int8() const { return quant_mode == 2; }
  bool mesh_2() const { return comm_alg && std::string_view(comm_alg) == "fullmesh_v2"; }
};

struct DispatchTask : MoeTask {
  MoeNative<MoeDispatch, MoeDispatchArgs, MoeDispatchOptions> native;
  TensorRef expand_idx;    // of the first version
  TensorRef short_assist;  // with TP: one that has no room for the rows of both ranks
  std::vector<std::int32_t> whole_assist;  // ... so this takes its place

  Status check_plan(int rank, int ranks, bool with_tp) const override {
    return ops::check_plan(native.args, rank, ranks, with_tp);
  }
  Status check_run(int rank) const override;
  Status plan() override { return native.plan(*this, native.args.expert_ids.dim(0)); }

 private:
  Status call() override;
  void finish_first_version() const;
};

Status DispatchTask::check_run(int rank) const {
  const MoeDispatchArgs& a = native.args;
  WEFT_RETURN_IF_ERROR(ops::check_run(a, a, rank));
  if (!expand_idx.given()) return {};
  ops::Contract contract(ops::kMoeDispatch, rank);
  contract.rule(ops::Rule::kMissing, expand_idx.data() != nullptr,
                "expandIdx has no data (null pointer)");
  check_apart(contract, {"expandIdx", expand_idx},
              ops::TensorList()
                  .add("x", a.x)
                  .add("expertIds", a.expert_ids)
                  .add("expandX", a.expand_x)
                  .add("dynamicScales", a.dynamic_scales)
                  .add("expertTokenNums", a.expert_token_nums)
                  .add("epRecvCounts", a.ep_recv_counts)
                  .add("tpRecvCounts", a.tp_recv_counts));
  return contract.status();
}

void DispatchTask::finish_first_version() const {
  const MoeDispatchArgs& a = native.args;
  write_places(a, static_cast<std::int32_t*>(expand_idx.data()));
  const std::int64_t slices = a.experts.shared_expert_rank_num;
  if (ep->rank() >= slices) return;
  auto* const counts = static_cast<std::int32_t*>(a.ep_recv_counts.data());
  cut_own_tokens(counts, slices, ep->rank());
  if (tp) cut_own_tokens(counts + ep->ranks(), slices, ep->rank());
}

Status DispatchTask::call() {
  WEFT_RETURN_IF_ERROR(native.run());
  const MoeDispatchCounts& counts = native.counts();
  if (counts.out_of_range > 0 || counts.doubled > 0)
    log::print(LogLevel::kWarning,
               "dispatch: expertIds has {} entries of no expert, which are not sent, and {} whose "
               "token has the expert already",
               counts.out_of_range, counts.doubled);
  if (expand_idx.given()) finish_first_version();
  if (short_assist.given()) {
    const auto* const rows = static_cast<const std::int32_t*>(native.args.tp_recv_counts.data());
    const std::int64_t most = short_assist.elements();
    std::copy_n(whole_assist.begin(), std::min(most, kOrigin * rows[tp->rank()]),
                static_cast<std::int32_t*>(short_assist.data()));
  }
  return {};
}

void check_wrapper(MoeCall& call, const Operands& o) {
  call.check_given({{"x", o.x},
                    {"expertIds", o.expert_ids},
                    {"expandX", o.expand_x},
                    {call.with.first_version ? "expandIdx" : "assistInfoForCombine", o.route},
                    {"expertTokenNums", o.expert_token_nums},
                    {"tpRecvCounts", o.tp_recv_counts},
                    {"epRecvCounts", o.ep_recv_counts}});
  call.findings.require(!o.int8() || o.dynamic_scales, ACLNN_ERR_PARAM_NULLPTR,
                        "dynamicScales is null, but quantMode is 2");
  call.check_groups();
}

/// The views; what native.args does not have stays where it is.
TensorRef look_at_operands(MoeCall& call, const Operands& o, DispatchTask& task) {
  constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kFloat = DType::kFloat32,
                  kInt = DType::kInt32;
  MoeDispatchArgs& a = task.native.args;
  a.x = call.look("x", o.x, {kHalf, kBrain}, 2, 2);
  a.expert_ids = call.look("expertIds", o.expert_ids, {kInt}, 2, 2);
  a.scales = call.look("scales", o.scales, {kFloat}, 2, 2);
  a.x_active_mask = call.look("xActiveMask", o.x_active_mask, {DType::kBool}, 1, 2);
  call.look("expertScales", o.expert_scales, {kFloat}, 0, kMaxDims);
  task.elastic_info = call.look_at_elastic_info();
  a.expand_x = call.look("expandX", o.expand_x, {kHalf, kBrain, DType::kInt8}, 2, 2);
  const TensorRef scales = call.look("dynamicScales", o.dynamic_scales, {kFloat}, o.int8() ? 1 : 0,
                                     o.int8() ? 1 : kMaxDims);
  if (o.int8()) a.dynamic_scales = scales;
  const char* const name = call.with.first_version ? "expandIdx" : "assistInfoForCombine";
  const TensorRef route = call.look(name, o.route, {kInt}, 1, 1);
  a.expert_token_nums = call.look("expertTokenNums", o.expert_token_nums, {DType::kInt64}, 1, 1);
  a.ep_recv_counts = call.look("epRecvCounts", o.ep_recv_counts, {kInt}, 1, 1);
  a.tp_recv_counts = call.look("tpRecvCounts", o.tp_recv_counts, {kInt}, 1, 1);
  call.look("expandScales", o.expand_scales, {kFloat}, 0, kMaxDims);
  call.check_rows_dtype(o.expand_x, DType::kInt8, o.x);
  return route;
}

void check_attributes(MoeCall& call, const Operands& o, const MoeDispatchArgs& a) {
  Findings& findings = call.findings;
  call.check_attributes();
  call.zero_or_two("quantMode", o.quant_mode);
  call.range("expertTokenNumsType", o.expert_token_nums_type, 0, 1);
  findings.require(o.int8() || !a.scales.given(), kTiling,
                   "scales is given but must be null with quantMode 0");
  findings.require(o.int8() == (a.expand_x.dtype() == DType::kInt8), kTiling,
                   "expandX is {}, but quantMode is {}", to_string(a.expand_x.dtype()),
                   o.quant_mode);
  const std::string_view algorithm = o.comm_alg ? o.comm_alg : "";
  findings.require(algorithm.empty() || algorithm == "fullmesh_v1" || o.mesh_2(), kTiling,
                   "commAlg is \"{}\" but must be null, \"\", \"fullmesh_v1\" or \"fullmesh_v2\"",
                   algorithm);
  if (!o.mesh_2()) return;
  const MoeAttributes& with = call.with;
  findings.require(!call.tp() && !a.x_active_mask.given() && !with.elastic_info, kTiling,
                   "commAlg is \"fullmesh_v2\", which takes neither tpWorldSize 2 nor xActiveMask "
                   "nor elasticInfo");
  findings.require(with.zero_expert_num + with.copy_expert_num + with.const_expert_num == 0,
                   kTiling,
                   "commAlg is \"fullmesh_v2\", which takes no zero, copy or const experts");
}

/// Also leaves native.args as weft wants them.
void check_extents(MoeCall& call, const Operands& o, DispatchTask& task, const TensorRef& route) {
  MoeDispatchArgs& a = task.native.args;
  const MoeSizes sizes = call.check_sizes(a.expert_ids, a.x, a.x_active_mask);
  if (call.findings.any()) return;
  call.findings.require(
      !o.mesh_2() || sizes.most_tokens == sizes.tokens, kTiling,
      "commAlg is \"fullmesh_v2\", but this rank has {} tokens and globalBs says {} for another",
      sizes.tokens, sizes.most_tokens);
  const std::int64_t least = sizes.capacity * call.tp_ranks();
  call.at_least("expandX", a.expand_x, least);
  std::int64_t rows = a.expand_x.dim(0);
  if (o.int8()) {
    call.at_least("dynamicScales", a.dynamic_scales, least);
    rows = std::min(rows, a.dynamic_scales.dim(0));
  }
  call.check_tp_counts("tpRecvCounts", a.tp_recv_counts);
  if (!call.tp()) a.tp_recv_counts = {};
  call.check_buffer(sizes, o.mesh_2());
  if (call.with.first_version) {
    call.findings.require(route.dim(0) == sizes.tokens * sizes.k && route.dense(), kTiling,
                          "expandIdx has {} elements but must have {}, those of expertIds, and be "
                          "dense",
                          route.dim(0), sizes.tokens * sizes.k);
    task.expand_idx = route;
  } else {
    call.at_least("assistInfoForCombine", route, kOrigin * sizes.capacity);
    a.assist_info_for_combine = route;
    if (!call.tp()) rows = std::min(rows, route.dim(0) / kOrigin);
  }
  if (call.findings.any()) return;
  a.expand_x = first_rows(a.expand_x, rows);
  if (!call.tp() || call.with.first_version || route.dim(0) >= kOrigin * rows) return;
  call.findings.require(route.dense(), kTiling, "assistInfoForCombine must be dense");
  task.short_assist = route;
  task.whole_assist.resize(static_cast<std::size_t>(kOrigin * rows));
  a.assist_info_for_combine = TensorRef(task.whole_assist.data(), DType::kInt32, {kOrigin * rows});
}

aclnnStatus prepare(const MoeAttributes& attributes, const Operands& o) {
  MoeCall call(attributes);
  check_wrapper(call, o);
  if (call.findings.any()) return call.findings.report();
  const auto task = std::make_shared<DispatchTask>();
  MoeDispatchArgs& args = task->native.args;
  const TensorRef route = look_at_operands(call, o, *task);
  if (call.findings.any()) return call.findings.report();
  check_attributes(call, o, args);
  if (call.findings.any()) return call.findings.report();
  check_extents(call, o, *task, route);
  if (call.findings.any()) return call.findings.report();
  args.experts = call.experts();
  args.tokens_are_ends = o.expert_token_nums_type == 0;
  task->gathered.rows(args.x);
  task->gathered.rows(args.scales);
  return call.finish(task);
}

aclnnStatus dispatch(const MoeAttributes& attributes, const Operands& o) {
  return first_phase(attributes.op, [&] { return prepare(attributes, o); });
}

}  // namespace

aclnnStatus aclnnMoeDistributeDispatchGetWorkspaceSize(
    const aclTensor* x, const aclTensor* expertIds, const aclTensor* scales,
    const aclTensor* xActiveMask, const aclTensor* expertScales, const char* groupEp,
    int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum, const char* groupTp,
    int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum,
    int64_t sharedExpertRankNum, int64_t quantMode, int64_t globalBs, int64_t expertTokenNumsType,
    aclTensor* expandX, aclTensor* dynamicScales, aclTensor* expandIdx, aclTensor* expertTokenNums,
    aclTensor* epRecvCounts, aclTensor* tpRecvCounts, aclTensor* expandScales,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return dispatch({"aclnnMoeDistributeDispatch",
                   true,
                   ACLNN_ERR_PARAM_NULLPTR,
                   groupEp,
                   epWorldSize,
                   epRankId,
                   moeExpertNum,
                   groupTp,
                   tpWorldSize,
                   tpRankId,
                   expertShardType,
                   sharedExpertNum,
                   sharedExpertRankNum,
                   globalBs,
                   {workspaceSize, executor}},
                  {x, expertIds, scales, xActiveMask, expertScales, quantMode, expertTokenNumsType,
                   nullptr, expandX, dynamicScales, expandIdx, expertTokenNums, epRecvCounts,
                   tpRecvCounts, expandScales});
}
WEFT_SECOND_PHASE(aclnnMoeDistributeDispatch)

aclnnStatus aclnnMoeDistributeDispatchV2GetWorkspaceSize(
    const aclTensor* x, const aclTensor* expertIds, const aclTensor* scalesOptional,
    const aclTensor* xActiveMaskOptional, const aclTensor* expertScalesOptional,
    const char* groupEp, int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum,
    const char* groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t quantMode, int64_t globalBs,
    int64_t expertTokenNumsType, const char* commAlg, aclTensor* expandXOut,
    aclTensor* dynamicScalesOut, aclTensor* assistInfoForCombineOut, aclTensor* expertTokenNumsOut,
    aclTensor* epRecvCountsOut, aclTensor* tpRecvCountsOut, aclTensor* expandScalesOut,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return dispatch(
      {"aclnnMoeDistributeDispatchV2",
       false,
       ACLNN_ERR_PARAM_NULLPTR,
       groupEp,
       epWorldSize,
       epRankId,
       moeExpertNum,
       groupTp,
       tpWorldSize,
       tpRankId,
       expertShardType,
       sharedExpertNum,
       sharedExpertRankNum,
       globalBs,
       {workspaceSize, executor}},
      {x, expertIds, scalesOptional, xActiveMaskOptional, expertScalesOptional, quantMode,
       expertTokenNumsType, commAlg, expandXOut, dynamicScalesOut, assistInfoForCombineOut,
       expertTokenNumsOut, epRecvCountsOut, tpRecvCountsOut, expandScalesOut});
}
WEFT_SECOND_PHASE(aclnnMoeDistributeDispatchV2)

aclnnStatus aclnnMoeDistributeDispatchV3GetWorkspaceSize(
    const aclTensor* x, const aclTensor* expertIds, const aclTensor* scalesOptional,
    const aclTensor* xActiveMaskOptional, const aclTensor* expertScalesOptional,
    const aclTensor* elasticInfoOptional, const char* groupEp, int64_t epWorldSize,
    int64_t epRankId, int64_t moeExpertNum, const char* groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t quantMode, int64_t globalBs, int64_t expertTokenNumsType, const char* commAlg,
    int64_t zeroExpertNum, int64_t copyExpertNum, int64_t constExpertNum, aclTensor* expandXOut,
    aclTensor* dynamicScalesOut, aclTensor* assistInfoForCombineOut, aclTensor* expertTokenNumsOut,
    aclTensor* epRecvCountsOut, aclTensor* tpRecvCountsOut, aclTensor* expandScalesOut,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return dispatch(
      {"aclnnMoeDistributeDispatchV3",
       false,
       ACLNN_ERR_PARAM_NULLPTR,
       groupEp,
       epWorldSize,
       epRankId,
       moeExpertNum,
       groupTp,
       tpWorldSize,
       tpRankId,
       expertShardType,
       sharedExpertNum,
       sharedExpertRankNum,
       globalBs,
       {workspaceSize, executor},
       elasticInfoOptional,
       zeroExpertNum,
       copyExpertNum,
       constExpertNum},
      {x, expertIds, scalesOptional, xActiveMaskOptional, expertScalesOptional, quantMode,
       expertTokenNumsType, commAlg, expandXOut, dynamicScalesOut, assistInfoForCombineOut,
       expertTokenNumsOut, epRecvCountsOut, tpRecvCountsOut, expandScalesOut});
}
WEFT_SECOND_PHASE(aclnnMoeDistributeDispatchV3)
