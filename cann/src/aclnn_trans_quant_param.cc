// SPDX-License-Identifier: Apache-2.0
// Packed dequantisation scales: aclnnTransQuantParamV2 and V3.
#include "aclnn_first_phase.h"
#include "aclnnop/aclnn_trans_quant_param_v2.h"
#include "aclnnop/aclnn_trans_quant_param_v3.h"
#include "ops/weights/trans_quant_param.h"

using namespace weft;
using namespace weft::cann;

namespace {

constexpr std::int64_t kTruncate = 0, kNearest = 1;

Error launch(const std::vector<Operand>& operands, QuantParamRound round, Stream& stream) {
  Error error;
  const ConstTensorRef scale = view_now(error, "scale", operands[0]);
  const ConstTensorRef offset = view_now(error, "offset", operands[1]);
  const TensorRef out = view_now(error, "out", operands[2]);
  if (!error.ok()) return error;
  if (const Status status = ops::check_trans_quant_param(scale, offset, out, round); !status.ok())
    return status;
  return stream.submit([=] { return Error(trans_quant_param(scale, offset, out, round)); });
}

aclnnStatus pack(const char* op, const aclTensor* scale, const aclTensor* offset,
                 std::int64_t round_mode, const aclTensor* out, const Results& results) {
  return first_phase(op, [&] {
    Findings findings;
    results.check(findings);
    const TensorRef scale_view = required(findings, "scale", scale);
    const TensorRef offset_view = view_of(findings, "offset", offset);
    const TensorRef out_view = required(findings, "out", out);
    findings.require(round_mode == kTruncate || round_mode == kNearest, ACLNN_ERR_PARAM_INVALID,
                     "roundMode is {} but must be {} (truncate) or {} (to nearest)", round_mode,
                     kTruncate, kNearest);
    if (findings.any()) return findings.report();
    const auto round =
        round_mode == kNearest ? QuantParamRound::kNearest : QuantParamRound::kTruncate;
    const Status status = ops::check_trans_quant_param(scale_view, offset_view, out_view, round);
    if (!status.ok()) return fail(ACLNN_ERR_PARAM_INVALID, status.message());
    return finish_repeatable(op, results, {input(scale), input(offset), output(out)},
                             [round](const std::vector<Operand>& operands, Stream& stream) {
                               return launch(operands, round, stream);
                             });
  });
}

}  // namespace

aclnnStatus aclnnTransQuantParamV2GetWorkspaceSize(const aclTensor* scale, const aclTensor* offset,
                                                   const aclTensor* out, uint64_t* workspaceSize,
                                                   aclOpExecutor** executor) {
  return pack("aclnnTransQuantParamV2", scale, offset, kTruncate, out, {workspaceSize, executor});
}
WEFT_SECOND_PHASE(aclnnTransQuantParamV2)

aclnnStatus aclnnTransQuantParamV3GetWorkspaceSize(const aclTensor* scale, const aclTensor* offset,
                                                   int64_t roundMode, const aclTensor* out,
                                                   uint64_t* workspaceSize,
                                                   aclOpExecutor** executor) {
  return pack("aclnnTransQuantParamV3", scale, offset, roundMode, out, {workspaceSize, executor});
}
WEFT_SECOND_PHASE(aclnnTransQuantParamV3)
