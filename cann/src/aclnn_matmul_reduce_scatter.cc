// SPDX-License-Identifier: Apache-2.0
// aclnnMatmulReduceScatter and its second version.
#include "aclnnop/aclnn_matmul_reduce_scatter.h"

#include <string_view>

#include "aclnn_collective.h"
#include "aclnnop/aclnn_matmul_reduce_scatter_v2.h"
#include "ops/matmul_reduce_scatter/contract.h"

using namespace weft;
using namespace weft::cann;

namespace {

using ops::CannEntry;
using ops::Scenario;

constexpr int kRanks[] = {2, 4, 8, 16, 32};
constexpr Family family_of(Scenario scenario) {
  return {.entry = CannEntry::kMatmulReduceScatter,
          .scenario = scenario,
          .ranks = kRanks,
          .reduce_op_code = ACLNN_ERR_INNER_TILING_ERROR};
}
constexpr Family kFloat = family_of(Scenario::kFloat), kQuant = family_of(Scenario::kQuant);
constexpr std::int64_t kLeastK = 256, kEndOfK = 65535;
// Values of commMode; int8 needs the first.
constexpr std::string_view kVectorCores = "aiv", kCpu = "ai_cpu";

struct Native {
  using Plan = MatmulReduceScatter;
  using Args = MatmulReduceScatterArgs;
  static Status check(const Args& args, int rank, int ranks, bool& empty) {
    if (ranks > 0) return ops::check_plan(args, rank, ranks, empty);
    // Without a communicator nobody knows how many rows the output must have; let it have all.
    Args any_rows = args;
    if (args.output.rank() == 2 && args.x1.rank() > 0) {
      const std::int64_t dims[] = {args.x1.dim(0), args.output.dim(1)};
      any_rows.output = TensorRef(nullptr, args.output.dtype(), dims);
    }
    return ops::check_plan(any_rows, rank, 1, empty);
  }
  static Status check_run(const Args& args, int rank) { return ops::check_run(args, args, rank); }
  static bool same_layout(const Args& a, const Args& b) {
    return same_layouts(a, b, &Args::x1, &Args::x2, &Args::bias, &Args::x1_scale, &Args::x2_scale,
                        &Args::output);
  }
  static void check_limits(CollectiveCall& call, const Args& args) {
    const std::int64_t k = args.x1.dim(args.x1.rank() - 1);
    call.findings.require(k >= kLeastK && k < kEndOfK, ACLNN_ERR_PARAM_INVALID,
                          "k is {} but must be at least {} and less than {}", k, kLeastK, kEndOfK);
  }
};

// What the second version has beside the first.
void check_reserved(CollectiveCall& call, const Operands& o) {
  Findings& findings = call.findings;
  findings.require(!o.quant_scale, ACLNN_ERR_PARAM_INVALID, "quantScale is given but must be null");
  findings.require(o.block_size == 0, ACLNN_ERR_PARAM_INVALID, "blockSize is {} but must be 0",
                   o.block_size);
  findings.require(o.group_size == 0, ACLNN_ERR_PARAM_INVALID, "groupSize is {} but must be 0",
                   o.group_size);
  findings.require(!o.amax_out || ops::is_empty(call.optional("amaxOut", o.amax_out)),
                   ACLNN_ERR_PARAM_INVALID, "amaxOut has elements but must be null or empty");
  const std::string_view mode = o.comm_mode ? o.comm_mode : "";
  findings.require(mode.empty() || mode == kVectorCores || mode == kCpu, ACLNN_ERR_PARAM_INVALID,
                   "commMode is \"{}\" but must be \"{}\" or \"{}\"", mode, kVectorCores, kCpu);
  findings.require(mode == kVectorCores || call.family.scenario == Scenario::kFloat,
                   ACLNN_ERR_PARAM_INVALID, "x1 is int8, so commMode must be \"{}\"", kVectorCores);
}

aclnnStatus reduce_scatter(const Family& family, const Common& common, const Operands& o) {
  return first_phase(common.op, [&] {
    CollectiveCall call(family, common);
    MatmulReduceScatterArgs args;
    call.factors(o, args, family.scenario == Scenario::kQuant ? &args.x2_scale : nullptr);
    if (family.scenario == Scenario::kFloat)
      args.x2_scale = call.optional(o.dequant_name, o.dequant_scale);
    args.x1_scale = call.optional(o.pertoken_name, o.pertoken_scale);
    args.output = call.required("output", o.output);
    check_reserved(call, o);
    return call.finish<Native>(args);
  });
}

/// The second version has rows of int8, too.
const Family& family_of(const aclTensor* x1) {
  const std::shared_ptr<Tensor> found = find_tensor(x1);
  return found && number_of(found->dtype) == ACL_INT8 ? kQuant : kFloat;
}

}  // namespace

aclnnStatus aclnnMatmulReduceScatterGetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                                     const aclTensor* bias, const char* group,
                                                     const char* reduceOp, int64_t commTurn,
                                                     int64_t streamMode, const aclTensor* output,
                                                     uint64_t* workspaceSize,
                                                     aclOpExecutor** executor) {
  return reduce_scatter(kFloat,
                        {"aclnnMatmulReduceScatter",
                         group,
                         reduceOp,
                         commTurn,
                         streamMode,
                         {workspaceSize, executor}},
                        {.x1 = x1, .x2 = x2, .bias = bias, .output = output});
}
WEFT_SECOND_PHASE(aclnnMatmulReduceScatter)

aclnnStatus aclnnMatmulReduceScatterV2GetWorkspaceSize(
    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias, const aclTensor* x1Scale,
    const aclTensor* x2Scale, const aclTensor* quantScale, int64_t blockSize, const char* group,
    const char* reduceOp, int64_t commTurn, int64_t streamMode, int64_t groupSize,
    const char* commMode, const aclTensor* output, const aclTensor* amaxOut,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return reduce_scatter(family_of(x1),
                        {"aclnnMatmulReduceScatterV2",
                         group,
                         reduceOp,
                         commTurn,
                         streamMode,
                         {workspaceSize, executor}},
                        {.x1 = x1,
                         .x2 = x2,
                         .bias = bias,
                         .dequant_scale = x2Scale,
                         .pertoken_scale = x1Scale,
                         .quant_scale = quantScale,
                         .output = output,
                         .amax_out = amaxOut,
                         .group_size = groupSize,
                         .block_size = blockSize,
                         .comm_mode = commMode,
                         .dequant_name = "x2Scale",
                         .pertoken_name = "x1Scale"});
}
WEFT_SECOND_PHASE(aclnnMatmulReduceScatterV2)
