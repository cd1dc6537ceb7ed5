// SPDX-License-Identifier: Apache-2.0
// aclnn{,Quant,WeightQuant}MatmulAllReduce in all their versions.
#include "aclnnop/aclnn_matmul_all_reduce.h"

#include "aclnn_collective.h"
#include "aclnnop/aclnn_matmul_all_reduce_v2.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_v2.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_v3.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_v4.h"
#include "aclnnop/aclnn_weight_quant_matmul_all_reduce.h"
#include "ops/matmul_allreduce/contract.h"

using namespace weft;
using namespace weft::cann;

namespace {

using ops::CannEntry;
using ops::Scenario;

constexpr Family family_of(CannEntry entry, Scenario scenario) {
  return {.entry = entry,
          .scenario = scenario,
          .ranks = kAllReduceRanks,
          .reduce_op_code = ACLNN_ERR_PARAM_INVALID,
          .takes_fractal_nz = scenario != Scenario::kFloat};
}
constexpr Family kPlain = family_of(CannEntry::kMatmulAllReduce, Scenario::kFloat);
constexpr Family kQuant = family_of(CannEntry::kQuantMatmulAllReduce, Scenario::kQuant);
constexpr Family kWeightQuant =
    family_of(CannEntry::kWeightQuantMatmulAllReduce, Scenario::kWeightQuant);

struct Native {
  using Plan = MatmulAllReduce;
  using Args = MatmulAllReduceArgs;
  static Status check(const Args& args, int rank, int, bool&) {
    return ops::check_plan(args, rank);
  }
  static Status check_run(const Args& args, int rank) { return ops::check_run(args, args, rank); }
  static void check_limits(CollectiveCall& call, const Args& args) { call.check_extents(args.x2); }
  static bool same_layout(const Args& a, const Args& b) {
    return a.antiquant_group_size == b.antiquant_group_size &&
           same_layouts(a, b, &Args::x1, &Args::x2, &Args::bias, &Args::x3, &Args::dequant_scale,
                        &Args::pertoken_scale, &Args::antiquant_scale, &Args::antiquant_offset,
                        &Args::comm_quant_scale_1, &Args::comm_quant_scale_2, &Args::output);
  }
  static ConstTensorRef& rows(Args& args) { return args.x3; }
};

aclnnStatus all_reduce(const Family& family, const Common& common, const Operands& o) {
  return first_phase(common.op, [&] {
    CollectiveCall call(family, common);
    MatmulAllReduceArgs args;
    call.factors(o, args, scale_of(family.scenario, args));
    args.x3 = call.rows(call.optional("x3", o.x3));
    args.pertoken_scale = call.optional(o.pertoken_name, o.pertoken_scale);
    args.antiquant_offset = call.optional("antiquantOffset", o.antiquant_offset);
    args.antiquant_group_size = o.antiquant_group_size;
    args.comm_quant_scale_1 = call.optional("commQuantScale1", o.comm_quant_scale_1);
    args.comm_quant_scale_2 = call.optional("commQuantScale2", o.comm_quant_scale_2);
    args.output = call.required("output", o.output);
    call.findings.require(o.group_size == 0, ACLNN_ERR_PARAM_INVALID,
                          "groupSize is {} but must be 0: there are no scales per group of int8",
                          o.group_size);
    call.findings.require(o.comm_quant_mode == 0, ACLNN_ERR_PARAM_INVALID,
                          "commQuantMode is {} but must be 0", o.comm_quant_mode);
    return call.finish<Native>(args);
  });
}

}  // namespace

aclnnStatus aclnnMatmulAllReduceGetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                                 const aclTensor* bias, const char* group,
                                                 const char* reduceOp, int64_t commTurn,
                                                 int64_t streamMode, const aclTensor* output,
                                                 uint64_t* workspaceSize,
                                                 aclOpExecutor** executor) {
  return all_reduce(
      kPlain,
      {"aclnnMatmulAllReduce", group, reduceOp, commTurn, streamMode, {workspaceSize, executor}},
      {.x1 = x1, .x2 = x2, .bias = bias, .output = output});
}
WEFT_SECOND_PHASE(aclnnMatmulAllReduce)

aclnnStatus aclnnMatmulAllReduceV2GetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                                   const aclTensor* bias, const aclTensor* x3,
                                                   const char* group, const char* reduceOp,
                                                   int64_t commTurn, int64_t streamMode,
                                                   const aclTensor* output, uint64_t* workspaceSize,
                                                   aclOpExecutor** executor) {
  return all_reduce(
      kPlain,
      {"aclnnMatmulAllReduceV2", group, reduceOp, commTurn, streamMode, {workspaceSize, executor}},
      {.x1 = x1, .x2 = x2, .bias = bias, .x3 = x3, .output = output});
}
WEFT_SECOND_PHASE(aclnnMatmulAllReduceV2)

aclnnStatus aclnnQuantMatmulAllReduceGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias, const aclTensor* x3,
    const aclTensor* dequantScale, const char* group, const char* reduceOp, int64_t commTurn,
    int64_t streamMode, const aclTensor* output, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return all_reduce(kQuant,
                    {"aclnnQuantMatmulAllReduce",
                     group,
                     reduceOp,
                     commTurn,
                     streamMode,
                     {workspaceSize, executor}},
                    {.x1 = x1,
                     .x2 = x2,
                     .bias = bias,
                     .x3 = x3,
                     .dequant_scale = dequantScale,
                     .output = output});
}
WEFT_SECOND_PHASE(aclnnQuantMatmulAllReduce)

aclnnStatus aclnnQuantMatmulAllReduceV2GetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* biasOptional,
    const aclTensor* x3Optional, const aclTensor* dequantScale,
    const aclTensor* pertokenScaleOptional, const char* group, const char* reduceOp,
    int64_t commTurn, int64_t streamMode, const aclTensor* output, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return all_reduce(kQuant,
                    {"aclnnQuantMatmulAllReduceV2",
                     group,
                     reduceOp,
                     commTurn,
                     streamMode,
                     {workspaceSize, executor}},
                    {.x1 = x1,
                     .x2 = x2,
                     .bias = biasOptional,
                     .x3 = x3Optional,
                     .dequant_scale = dequantScale,
                     .pertoken_scale = pertokenScaleOptional,
                     .output = output});
}
WEFT_SECOND_PHASE(aclnnQuantMatmulAllReduceV2)

aclnnStatus aclnnQuantMatmulAllReduceV3GetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* biasOptional,
    const aclTensor* x3Optional, const aclTensor* dequantScale,
    const aclTensor* pertokenScaleOptional, const aclTensor* commQuantScale1Optional,
    const aclTensor* commQuantScale2Optional, const char* group, const char* reduceOp,
    int64_t commTurn, int64_t streamMode, const aclTensor* output, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return all_reduce(kQuant,
                    {"aclnnQuantMatmulAllReduceV3",
                     group,
                     reduceOp,
                     commTurn,
                     streamMode,
                     {workspaceSize, executor}},
                    {.x1 = x1,
                     .x2 = x2,
                     .bias = biasOptional,
                     .x3 = x3Optional,
                     .dequant_scale = dequantScale,
                     .pertoken_scale = pertokenScaleOptional,
                     .comm_quant_scale_1 = commQuantScale1Optional,
                     .comm_quant_scale_2 = commQuantScale2Optional,
                     .output = output});
}
WEFT_SECOND_PHASE(aclnnQuantMatmulAllReduceV3)

aclnnStatus aclnnQuantMatmulAllReduceV4GetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* biasOptional,
    const aclTensor* x3Optional, const aclTensor* x1ScaleOptional, const aclTensor* x2Scale,
    const aclTensor* commQuantScale1Optional, const aclTensor* commQuantScale2Optional,
    const char* group, const char* reduceOp, int64_t commTurn, int64_t streamMode,
    int64_t groupSize, int64_t commQuantMode, const aclTensor* output, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return all_reduce(kQuant,
                    {"aclnnQuantMatmulAllReduceV4",
                     group,
                     reduceOp,
                     commTurn,
                     streamMode,
                     {workspaceSize, executor}},
                    {.x1 = x1,
                     .x2 = x2,
                     .bias = biasOptional,
                     .x3 = x3Optional,
                     .dequant_scale = x2Scale,
                     .pertoken_scale = x1ScaleOptional,
                     .comm_quant_scale_1 = commQuantScale1Optional,
                     .comm_quant_scale_2 = commQuantScale2Optional,
                     .output = output,
                     .group_size = groupSize,
                     .comm_quant_mode = commQuantMode,
                     .dequant_name = "x2Scale",
                     .pertoken_name = "x1Scale"});
}
WEFT_SECOND_PHASE(aclnnQuantMatmulAllReduceV4)

aclnnStatus aclnnWeightQuantMatmulAllReduceGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias,
    const aclTensor* antiquantScale, const aclTensor* antiquantOffset, const aclTensor* x3,
    const char* group, const char* reduceOp, int64_t commTurn, int64_t streamMode,
    int64_t antiquantGroupSize, const aclTensor* output, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return all_reduce(kWeightQuant,
                    {"aclnnWeightQuantMatmulAllReduce",
                     group,
                     reduceOp,
                     commTurn,
                     streamMode,
                     {workspaceSize, executor}},
                    {.x1 = x1,
                     .x2 = x2,
                     .bias = bias,
                     .x3 = x3,
                     .antiquant_scale = antiquantScale,
                     .antiquant_offset = antiquantOffset,
                     .output = output,
                     .antiquant_group_size = antiquantGroupSize});
}
WEFT_SECOND_PHASE(aclnnWeightQuantMatmulAllReduce)
