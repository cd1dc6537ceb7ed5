// SPDX-License-Identifier: Apache-2.0
#include "aclnnop/aclnn_add_rms_norm.h"

#include "aclnn_first_phase.h"
#include "ops/add_rmsnorm/contract.h"

using namespace weft;
using namespace weft::cann;

namespace {

constexpr const char* kOp = "aclnnAddRmsNorm";

void add(Findings& findings, const Status& contract) {
  if (contract.ok()) return;
  const bool missing = contract.rule() == static_cast<int>(ops::Rule::kMissing);
  findings.add(missing ? ACLNN_ERR_PARAM_NULLPTR : ACLNN_ERR_PARAM_INVALID, "{}",
               contract.message());
}

/// The plan is made by the task: it uses the threads of the device, which go when that is reset.
Error launch(const std::vector<Operand>& operands, double epsilon, Stream& stream) {
  Error error;
  AddRmsNormArgs args;
  args.x1 = view_now(error, "x1", operands[0]);
  args.x2 = view_now(error, "x2", operands[1]);
  args.gamma = view_now(error, "gamma", operands[2]);
  args.epsilon = epsilon;
  args.y = view_now(error, "yOut", operands[3]);
  args.rstd = view_now(error, "rstdOut", operands[4]);
  args.x = view_now(error, "xOut", operands[5]);
  if (!error.ok()) return error;
  if (const Status status = ops::check_run(args, args); !status.ok()) return status;
  return submit_local(stream,
                      [args](Context& context, PlanPool&) { return add_rmsnorm(context, args); });
}

}  // namespace

aclnnStatus aclnnAddRmsNormGetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                            const aclTensor* gamma, double epsilon,
                                            const aclTensor* yOut, const aclTensor* rstdOut,
                                            const aclTensor* xOut, uint64_t* workspaceSize,
                                            aclOpExecutor** executor) {
  return first_phase(kOp, [&] {
    const Results results = {workspaceSize, executor};
    Findings findings;
    results.check(findings);
    AddRmsNormArgs args;
    args.x1 = required(findings, "x1", x1);
    args.x2 = required(findings, "x2", x2);
    args.gamma = required(findings, "gamma", gamma);
    args.epsilon = static_cast<float>(epsilon);
    args.y = required(findings, "yOut", yOut);
    args.rstd = required(findings, "rstdOut", rstdOut);
    args.x = required(findings, "xOut", xOut);
    if (!findings.any()) add(findings, ops::check_plan(args));
    if (!findings.any() && ops::is_empty(args.x1)) return finish_empty(kOp, results);
    // Memory that is not there yet can still be set.
    const bool complete = args.x1.data() && args.x2.data() && args.gamma.data() && args.y.data() &&
                          args.rstd.data() && args.x.data();
    if (!findings.any() && complete) add(findings, ops::check_run(args, args));
    if (findings.any()) return findings.report();
    return finish_repeatable(
        kOp, results,
        {input(x1), input(x2), input(gamma), output(yOut), output(rstdOut), output(xOut)},
        [epsilon = args.epsilon](const std::vector<Operand>& operands, Stream& stream) {
          return launch(operands, epsilon, stream);
        });
  });
}
WEFT_SECOND_PHASE(aclnnAddRmsNorm)
