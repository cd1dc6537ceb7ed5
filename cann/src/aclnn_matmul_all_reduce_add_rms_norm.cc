// SPDX-License-Identifier: Apache-2.0
// aclnn{,Quant,WeightQuant}MatmulAllReduceAddRmsNorm and their Inplace forms.
#include "aclnnop/aclnn_matmul_all_reduce_add_rms_norm.h"

#include "aclnn_collective.h"
#include "aclnnop/aclnn_inplace_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_inplace_quant_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_inplace_weight_quant_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_quant_matmul_all_reduce_add_rms_norm.h"
#include "aclnnop/aclnn_weight_quant_matmul_all_reduce_add_rms_norm.h"
#include "ops/matmul_allreduce_add_rmsnorm/contract.h"

using namespace weft;
using namespace weft::cann;

namespace {

using ops::CannEntry;
using ops::Scenario;

constexpr Family family_of(Scenario scenario) {
  return {.entry = CannEntry::kMatmulAllReduceAddRmsNorm,
          .scenario = scenario,
          .ranks = kAllReduceRanks,
          .reduce_op_code = ACLNN_ERR_INNER_TILING_ERROR,
          .empty_before_stream_mode = true};
}
constexpr Family kPlain = family_of(Scenario::kFloat), kQuant = family_of(Scenario::kQuant),
                 kWeightQuant = family_of(Scenario::kWeightQuant);

struct Native {
  using Plan = MatmulAllReduceAddRmsNorm;
  using Args = MatmulAllReduceAddRmsNormArgs;
  static Status check(const Args& args, int rank, int, bool& empty) {
    return ops::check_plan(args, rank, empty);
  }
  static Status check_run(const Args& args, int rank) { return ops::check_run(args, args, rank); }
  static void check_limits(CollectiveCall& call, const Args& args) { call.check_extents(args.x2); }
  static bool same_layout(const Args& a, const Args& b) {
    return a.antiquant_group_size == b.antiquant_group_size && a.epsilon == b.epsilon &&
           same_layouts(a, b, &Args::x1, &Args::x2, &Args::bias, &Args::dequant_scale,
                        &Args::antiquant_scale, &Args::antiquant_offset, &Args::residual,
                        &Args::gamma, &Args::y, &Args::norm_out);
  }
  static ConstTensorRef& rows(Args& args) { return args.residual; }
};

aclnnStatus add_rms_norm(const Family& family, const Common& common, const Operands& o) {
  return first_phase(common.op, [&] {
    CollectiveCall call(family, common);
    MatmulAllReduceAddRmsNormArgs args;
    call.factors(o, args, scale_of(family.scenario, args));
    args.antiquant_offset = call.optional("antiquantOffset", o.antiquant_offset);
    args.antiquant_group_size = o.antiquant_group_size;
    args.residual = call.rows(call.required("residual", o.residual));
    args.gamma = call.required("gamma", o.gamma);
    args.epsilon = static_cast<float>(o.epsilon);  // as CANN; 1e-60 is 0 then
    args.y = call.required("y", o.output);
    args.norm_out = call.required("normOut", o.norm_out);
    return call.finish<Native>(args);
  });
}

}  // namespace

aclnnStatus aclnnMatmulAllReduceAddRmsNormGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias, const aclTensor* residual,
    const aclTensor* gamma, double epsilon, const char* group, const char* reduceOp,
    int64_t commTurn, int64_t streamMode, const aclTensor* y, const aclTensor* normOut,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return add_rms_norm(kPlain,
                      {"aclnnMatmulAllReduceAddRmsNorm",
                       group,
                       reduceOp,
                       commTurn,
                       streamMode,
                       {workspaceSize, executor}},
                      {.x1 = x1,
                       .x2 = x2,
                       .bias = bias,
                       .residual = residual,
                       .gamma = gamma,
                       .output = y,
                       .norm_out = normOut,
                       .epsilon = epsilon});
}
WEFT_SECOND_PHASE(aclnnMatmulAllReduceAddRmsNorm)

aclnnStatus aclnnInplaceMatmulAllReduceAddRmsNormGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias, const aclTensor* residual,
    const aclTensor* gamma, double epsilon, const char* group, const char* reduceOp,
    int64_t commTurn, int64_t streamMode, const aclTensor* normOut, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return add_rms_norm(kPlain,
                      {"aclnnInplaceMatmulAllReduceAddRmsNorm",
                       group,
                       reduceOp,
                       commTurn,
                       streamMode,
                       {workspaceSize, executor}},
                      {.x1 = x1,
                       .x2 = x2,
                       .bias = bias,
                       .residual = residual,
                       .gamma = gamma,
                       .output = residual,
                       .norm_out = normOut,
                       .epsilon = epsilon});
}
WEFT_SECOND_PHASE(aclnnInplaceMatmulAllReduceAddRmsNorm)

aclnnStatus aclnnQuantMatmulAllReduceAddRmsNormGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias, const aclTensor* dequantScale,
    const aclTensor* residual, const aclTensor* gamma, double epsilon, const char* group,
    const char* reduceOp, int64_t commTurn, int64_t streamMode, const aclTensor* y,
    const aclTensor* normOut, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return add_rms_norm(kQuant,
                      {"aclnnQuantMatmulAllReduceAddRmsNorm",
                       group,
                       reduceOp,
                       commTurn,
                       streamMode,
                       {workspaceSize, executor}},
                      {.x1 = x1,
                       .x2 = x2,
                       .bias = bias,
                       .dequant_scale = dequantScale,
                       .residual = residual,
                       .gamma = gamma,
                       .output = y,
                       .norm_out = normOut,
                       .epsilon = epsilon});
}
WEFT_SECOND_PHASE(aclnnQuantMatmulAllReduceAddRmsNorm)

aclnnStatus aclnnInplaceQuantMatmulAllReduceAddRmsNormGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias, const aclTensor* dequantScale,
    const aclTensor* residual, const aclTensor* gamma, double epsilon, const char* group,
    const char* reduceOp, int64_t commTurn, int64_t streamMode, const aclTensor* normOut,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return add_rms_norm(kQuant,
                      {"aclnnInplaceQuantMatmulAllReduceAddRmsNorm",
                       group,
                       reduceOp,
                       commTurn,
                       streamMode,
                       {workspaceSize, executor}},
                      {.x1 = x1,
                       .x2 = x2,
                       .bias = bias,
                       .dequant_scale = dequantScale,
                       .residual = residual,
                       .gamma = gamma,
                       .output = residual,
                       .norm_out = normOut,
                       .epsilon = epsilon});
}
WEFT_SECOND_PHASE(aclnnInplaceQuantMatmulAllReduceAddRmsNorm)

aclnnStatus aclnnWeightQuantMatmulAllReduceAddRmsNormGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias,
    const aclTensor* antiquantScale, const aclTensor* antiquantOffset, const aclTensor* residual,
    const aclTensor* gamma, double epsilon, const char* group, const char* reduceOp,
    int64_t commTurn, int64_t streamMode, int64_t antiquantGroupSize, const aclTensor* y,
    const aclTensor* normOut, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return add_rms_norm(kWeightQuant,
                      {"aclnnWeightQuantMatmulAllReduceAddRmsNorm",
                       group,
                       reduceOp,
                       commTurn,
                       streamMode,
                       {workspaceSize, executor}},
                      {.x1 = x1,
                       .x2 = x2,
                       .bias = bias,
                       .antiquant_scale = antiquantScale,
                       .antiquant_offset = antiquantOffset,
                       .residual = residual,
                       .gamma = gamma,
                       .output = y,
                       .norm_out = normOut,
                       .epsilon = epsilon,
                       .antiquant_group_size = antiquantGroupSize});
}
WEFT_SECOND_PHASE(aclnnWeightQuantMatmulAllReduceAddRmsNorm)

aclnnStatus aclnnInplaceWeightQuantMatmulAllReduceAddRmsNormGetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias,
    const aclTensor* antiquantScale, const aclTensor* antiquantOffset, const aclTensor* residual,
    const aclTensor* gamma, double epsilon, const char* group, const char* reduceOp,
    int64_t commTurn, int64_t streamMode, int64_t antiquantGroupSize, const aclTensor* normOut,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return add_rms_norm(kWeightQuant,
                      {"aclnnInplaceWeightQuantMatmulAllReduceAddRmsNorm",
                       group,
                       reduceOp,
                       commTurn,
                       streamMode,
                       {workspaceSize, executor}},
                      {.x1 = x1,
                       .x2 = x2,
                       .bias = bias,
                       .antiquant_scale = antiquantScale,
                       .antiquant_offset = antiquantOffset,
                       .residual = residual,
                       .gamma = gamma,
                       .output = residual,
                       .norm_out = normOut,
                       .epsilon = epsilon,
                       .antiquant_group_size = antiquantGroupSize});
}
WEFT_SECOND_PHASE(aclnnInplaceWeightQuantMatmulAllReduceAddRmsNorm)
