// SPDX-License-Identifier: Apache-2.0
// aclnnMoeGatingTopKSoftmax, aclnnMoeInitRouting, aclnnMoeFinalizeRouting and V2.
#include "aclnn_local.h"
#include "aclnnop/aclnn_moe_finalize_routing.h"
#include "aclnnop/aclnn_moe_finalize_routing_v2.h"
#include "aclnnop/aclnn_moe_gating_top_k_softmax.h"
#include "aclnnop/aclnn_moe_init_routing.h"
#include "ops/moe_finalize_routing/contract.h"
#include "ops/moe_gating_topk_softmax/contract.h"
#include "ops/moe_init_routing/contract.h"

using namespace weft;
using namespace weft::cann;

namespace {

using Gating = MoeGatingTopkSoftmaxArgs;
using Init = MoeInitRoutingArgs;
using Finalize = MoeFinalizeRoutingArgs;

constexpr int kTiling = ACLNN_ERR_INNER_TILING_ERROR;
constexpr std::int64_t kMostPlaces = 1024;  // of a token in the gating

std::int64_t tokens_of(const Gating& args) {
  std::int64_t tokens = 1;
  for (std::int64_t extent : args.x.dims().first(args.x.dims().size() - 1)) tokens *= extent;
  return tokens;
}
std::int64_t tokens_of(const Init& args) { return args.x.dim(0); }
std::int64_t tokens_of(const Finalize& args) { return args.out.dim(0); }

void check_gating(Findings& findings, const Gating& args) {
  findings.require(args.x.rank() <= 3, kTiling, "x is {} but must have 2 or 3 axes",
                   ops::shape_text(args.x));
  findings.require(!ops::is_empty(args.x), kTiling, "x is {} but no axis may be 0",
                   ops::shape_text(args.x));
  findings.require(args.k >= 1 && args.k <= kMostPlaces, kTiling, "k is {} but must be 1 to {}",
                   args.k, kMostPlaces);
}

constexpr std::int64_t kPadded = 1, kRowMajor = 2;  // bits of dropPadMode

void check_finalize(Findings& findings, const Finalize& args, std::int64_t mode) {
  findings.require(mode >= 0 && mode <= 3, kTiling, "dropPadMode is {} but must be 0 to 3", mode);
  findings.require(!args.x2.given() || args.x1.given(), kTiling,
                   "x2 is given but x1 is not; pass what is added as x1");
  if (findings.any()) return;
  const ConstTensorRef& x = args.expanded_x;
  const std::int64_t places = args.expanded_row_idx.dim(0);
  const bool padded = (mode & kPadded) != 0;
  findings.require(x.rank() == (padded ? 3 : 2), kTiling,
                   "expandedX is {} but must have {} axes with dropPadMode {}", ops::shape_text(x),
                   padded ? 3 : 2, mode);
  if (findings.any()) return;
  findings.require(padded || x.dim(0) == places, kTiling,
                   "expandedX is {} but must have {} rows, the numbers of expandedRowIdx, with "
                   "dropPadMode {}",
                   ops::shape_text(x), places, mode);
  findings.require(
      args.scales.given() || places == args.out.dim(0), kTiling,
      "expandedRowIdx has {} numbers but must have {}, the rows of out: without scales "
      "there is one expert for each token",
      places, args.out.dim(0));
  if (!args.scales.given()) return;
  const std::int64_t k = args.scales.dim(1);
  findings.require(!args.bias.given() || args.bias.dim(0) >= k, kTiling,
                   "bias has {} experts but scales has {} for each token; there can't be more",
                   args.bias.given() ? args.bias.dim(0) : 0, k);
  findings.require(!padded || x.dim(0) >= k, kTiling,
                   "expandedX has {} experts but scales has {} for each token; there can't be more",
                   x.dim(0), k);
}

constexpr auto fits = [](const auto& kept, const auto& args) {
  return ops::check_run(kept, args).ok();
};
Status run(Context& context, PlanPool& plans, const Gating& args) {
  return run_planned<MoeGatingTopkSoftmax>(context, plans, args, tokens_of(args), fits);
}
Status run(Context& context, PlanPool& plans, const Init& args) {
  return run_planned<MoeInitRouting>(context, plans, args, tokens_of(args), fits);
}
Status run(Context& context, PlanPool& plans, const Finalize& args) {
  return run_planned<MoeFinalizeRouting>(context, plans, args, tokens_of(args), fits);
}

aclnnStatus finalize(const char* op, const LocalOperands<Finalize>& operands, std::int64_t mode,
                     const Results& results) {
  Finalize attributes;
  attributes.order =
      (mode & kRowMajor) != 0 ? ExpandedRowOrder::kRowMajor : ExpandedRowOrder::kColumnMajor;
  return local_first_phase<Finalize>(
      {op, operands, attributes, results, ops::check_plan, ops::check_run,
       [mode](Findings& findings, const Finalize& args) { check_finalize(findings, args, mode); },
       tokens_of, run});
}

}  // namespace

aclnnStatus aclnnMoeGatingTopKSoftmaxGetWorkspaceSize(
    const aclTensor* x, const aclTensor* finishedOptional, int64_t k, const aclTensor* yOut,
    const aclTensor* expertIdxOut, const aclTensor* rowIdxOut, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  Gating attributes;
  attributes.k = k;
  return local_first_phase<Gating>(
      {"aclnnMoeGatingTopKSoftmax",
       {{needs("x", x, &Gating::x), takes("finished", finishedOptional, &Gating::finished),
         gives("yOut", yOut, &Gating::y), gives("expertIdxOut", expertIdxOut, &Gating::expert_idx),
         gives("rowIdxOut", rowIdxOut, &Gating::row_idx)}},
       attributes,
       {workspaceSize, executor},
       ops::check_plan,
       ops::check_run,
       check_gating,
       tokens_of,
       run});
}
WEFT_SECOND_PHASE(aclnnMoeGatingTopKSoftmax)

aclnnStatus aclnnMoeInitRoutingGetWorkspaceSize(const aclTensor* x, const aclTensor* rowIdx,
                                                const aclTensor* expertIdx, int64_t activeNum,
                                                const aclTensor* expandedXOut,
                                                const aclTensor* expandedRowIdxOut,
                                                const aclTensor* expandedExpertIdxOut,
                                                uint64_t* workspaceSize, aclOpExecutor** executor) {
  Init attributes;
  attributes.active_num = activeNum;
  return local_first_phase<Init>(
      {"aclnnMoeInitRouting",
       {{needs("x", x, &Init::x), needs("rowIdx", rowIdx, &Init::row_idx),
         needs("expertIdx", expertIdx, &Init::expert_idx),
         gives("expandedXOut", expandedXOut, &Init::expanded_x),
         gives("expandedRowIdxOut", expandedRowIdxOut, &Init::expanded_row_idx),
         gives("expandedExpertIdxOut", expandedExpertIdxOut, &Init::expanded_expert_idx)}},
       attributes,
       {workspaceSize, executor},
       ops::check_plan,
       ops::check_run,
       [](Findings&, const Init&) {},
       tokens_of,
       run});
}
WEFT_SECOND_PHASE(aclnnMoeInitRouting)

aclnnStatus aclnnMoeFinalizeRoutingGetWorkspaceSize(const aclTensor* expandedX, const aclTensor* x1,
                                                    const aclTensor* x2Optional,
                                                    const aclTensor* bias, const aclTensor* scales,
                                                    const aclTensor* expandedRowIdx,
                                                    const aclTensor* expandedExpertIdx,
                                                    const aclTensor* out, uint64_t* workspaceSize,
                                                    aclOpExecutor** executor) {
  return finalize(
      "aclnnMoeFinalizeRouting",
      {{needs("expandedX", expandedX, &Finalize::expanded_x), needs("x1", x1, &Finalize::x1),
        takes("x2", x2Optional, &Finalize::x2), needs("bias", bias, &Finalize::bias),
        needs("scales", scales, &Finalize::scales),
        needs("expandedRowIdx", expandedRowIdx, &Finalize::expanded_row_idx),
        needs("expandedExpertIdx", expandedExpertIdx, &Finalize::expert_idx),
        gives("out", out, &Finalize::out)}},
      0, {workspaceSize, executor});
}
WEFT_SECOND_PHASE(aclnnMoeFinalizeRouting)

aclnnStatus aclnnMoeFinalizeRoutingV2GetWorkspaceSize(
    const aclTensor* expandedX, const aclTensor* expandedRowIdx, const aclTensor* x1Optional,
    const aclTensor* x2Optional, const aclTensor* biasOptional, const aclTensor* scalesOptional,
    const aclTensor* expertIdxOptional, int64_t dropPadMode, const aclTensor* out,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return finalize("aclnnMoeFinalizeRoutingV2",
                  {{needs("expandedX", expandedX, &Finalize::expanded_x),
                    needs("expandedRowIdx", expandedRowIdx, &Finalize::expanded_row_idx),
                    takes("x1", x1Optional, &Finalize::x1), takes("x2", x2Optional, &Finalize::x2),
                    takes("bias", biasOptional, &Finalize::bias),
                    takes("scales", scalesOptional, &Finalize::scales),
                    takes("expertIdx", expertIdxOptional, &Finalize::expert_idx),
                    gives("out", out, &Finalize::out)}},
                  dropPadMode, {workspaceSize, executor});
}
WEFT_SECOND_PHASE(aclnnMoeFinalizeRoutingV2)
