// SPDX-License-Identifier: Apache-2.0
// aclnnFFN, aclnnFFNV2, aclnnFFNV3.
#include "aclnnop/aclnn_ffn.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "aclnn_ffn_checks.h"
#include "aclnnop/aclnn_ffn_v2.h"
#include "aclnnop/aclnn_ffn_v3.h"
#include "ops/ffn/contract.h"

using namespace weft;
using namespace weft::cann;

namespace {

/// The inputs in the order of the parameters.
struct Input {
  const char* name;
  ConstTensorRef FfnArgs::*member;
};
constexpr Input kInputs[] = {{"x", &FfnArgs::x},
                             {"weight1", &FfnArgs::weight1},
                             {"weight2", &FfnArgs::weight2},
                             {"expertTokens", &FfnArgs::expert_tokens},
                             {"bias1", &FfnArgs::bias1},
                             {"bias2", &FfnArgs::bias2},
                             {"scale", &FfnArgs::scale},
                             {"offset", &FfnArgs::offset},
                             {"deqScale1", &FfnArgs::deq_scale1},
                             {"deqScale2", &FfnArgs::deq_scale2},
                             {"antiquantScale1", &FfnArgs::antiquant_scale1},
                             {"antiquantScale2", &FfnArgs::antiquant_scale2},
                             {"antiquantOffset1", &FfnArgs::antiquant_offset1},
                             {"antiquantOffset2", &FfnArgs::antiquant_offset2}};
using Inputs = std::array<const aclTensor*, std::size(kInputs)>;
constexpr std::size_t kRequired = 3, kTokens = 3;

/// What the entry points differ in, and the rest of their parameters.
struct Call {
  const char* op;
  bool tokens_in_device_memory;  ///< an input; else `tokens`
  const aclIntArray* tokens;
  Inputs inputs;
  const aclTensor* y;
  const char* activation;
  std::int64_t inner_precise;
  bool tokens_are_ends;
  Results results;
};

/// What launches need beside the operands.
struct Planned {
  FfnArgs attributes;  // no tensors
  bool tokens_in_device_memory;
  std::shared_ptr<Array<std::int64_t>> tokens;  // else these, if there are experts
};

bool same_call(const FfnArgs& a, const FfnArgs& b) {
  const ops::TensorList of_a = ops::tensors_of(a), of_b = ops::tensors_of(b);
  return std::ranges::equal(std::span<const ops::NamedTensor>(of_a),
                            std::span<const ops::NamedTensor>(of_b),
                            [](const ops::NamedTensor& one, const ops::NamedTensor& other) {
                              return ops::same_layout(one.tensor, other.tensor);
                            }) &&
         a.activation == b.activation && a.inner_precise == b.inner_precise &&
         a.tokens_are_ends == b.tokens_are_ends;
}

/// No experts at all is how V3 says that it has none.
void drop_empty_tokens(FfnArgs& args) {
  if (args.expert_tokens.given() && args.expert_tokens.rank() > 0 && args.expert_tokens.dim(0) == 0)
    args.expert_tokens = {};
}

void set_tokens(FfnArgs& args, const Array<std::int64_t>& tokens) {
  args.expert_tokens = ConstTensorRef(tokens.values.data(), DType::kInt64,
                                      {static_cast<std::int64_t>(tokens.values.size())});
}

Error launch(const Planned& planned, const std::vector<Operand>& operands, Stream& stream) {
  Error error;
  FfnArgs args = planned.attributes;
  std::size_t next = 0;
  for (std::size_t i = 0; i < std::size(kInputs); ++i)
    if (i != kTokens || planned.tokens_in_device_memory)
      args.*kInputs[i].member = view_now(error, kInputs[i].name, operands[next++]);
  args.y = view_now(error, "y", operands[next]);
  if (!error.ok()) return error;
  drop_empty_tokens(args);
  if (planned.tokens) set_tokens(args, *planned.tokens);
  if (const Status status = ops::check_run(args, args); !status.ok()) return status;
  return submit_local(stream, [args, tokens = planned.tokens](Context& context, PlanPool& plans) {
    return run_planned<Ffn>(context, plans, args, ops::shape_of(args).m, same_call);
  });
}

void check_activation(Findings& findings, const char* name, FfnArgs& args) {
  findings.require(name, ACLNN_ERR_PARAM_NULLPTR, "activation is null; pass \"gelu\" or another");
  if (!name) return;
  const std::optional<Activation> known = activation_from_name(name);
  findings.require(known.has_value(), ACLNN_ERR_PARAM_INVALID,
                   "activation is \"{}\" but must be one of fastgelu, relu, silu, gelu, geglu, "
                   "swiglu, reglu",
                   name);
  if (known) args.activation = *known;
}

void check_given(Findings& findings, const Call& call) {
  for (std::size_t i = 0; i < kRequired; ++i)
    findings.require(call.inputs[i], ACLNN_ERR_PARAM_NULLPTR, "{} is null", kInputs[i].name);
  findings.require(call.y, ACLNN_ERR_PARAM_NULLPTR, "y is null");
  call.results.check(findings);
}

/// The views of all operands.
void look_at(Findings& findings, const Call& call, FfnArgs& args) {
  for (std::size_t i = 0; i < kRequired; ++i)
    check_format(findings, kInputs[i].name, call.inputs[i]);
  check_format(findings, "y", call.y);
  for (std::size_t i = 0; i < std::size(kInputs); ++i)
    args.*kInputs[i].member = view_of(findings, kInputs[i].name, call.inputs[i]);
  args.y = view_of(findings, "y", call.y);
  drop_empty_tokens(args);
  const ConstTensorRef &first = args.deq_scale1, &second = args.deq_scale2;
  findings.require(!first.given() || !second.given() || first.dtype() == second.dtype(),
                   ACLNN_ERR_PARAM_INVALID,
                   "deqScale1 is {} but deqScale2 is {}; they must be the same",
                   to_string(first.dtype()), to_string(second.dtype()));
}

/// What the program's array says now; it may be destroyed before the second phase.
std::shared_ptr<Array<std::int64_t>> tokens_of(Findings& findings, const Call& call,
                                               const FfnArgs& args) {
  if (!call.tokens) return nullptr;
  const auto found = find_int_array(call.tokens);
  findings.require(found != nullptr, ACLNN_ERR_PARAM_INVALID,
                   "expertTokens was destroyed, or is no aclIntArray");
  if (!found || found->values.empty()) return nullptr;
  check_expert_tokens(findings, found->values, args.tokens_are_ends, ops::rows_of(args.x));
  return found;
}

bool is_complete(const FfnArgs& args) {
  const ops::TensorList all = ops::tensors_of(args);
  return std::ranges::all_of(std::span<const ops::NamedTensor>(all), [](const auto& named) {
    return !named.tensor.given() || named.tensor.data() || ops::is_empty(named.tensor);
  });
}

aclnnStatus finish_ffn(const Call& call, const FfnArgs& args, Planned planned) {
  std::vector<Operand> operands;
  for (std::size_t i = 0; i < std::size(kInputs); ++i)
    if (i != kTokens || call.tokens_in_device_memory) operands.push_back(input(call.inputs[i]));
  operands.push_back(output(call.y));
  planned.attributes.activation = args.activation;
  planned.attributes.inner_precise = args.inner_precise;
  planned.attributes.tokens_are_ends = args.tokens_are_ends;
  return finish_repeatable(
      call.op, call.results, std::move(operands),
      [planned = std::move(planned)](const std::vector<Operand>& now, Stream& stream) {
        return launch(planned, now, stream);
      });
}

aclnnStatus prepare(const Call& call) {
  FfnArgs args;
  args.tokens_are_ends = call.tokens_are_ends;
  // Of another number the plan never hears; the rules decide about it.
  if (call.inner_precise == 1) args.inner_precise = InnerPrecise::kHighPerformance;
  Findings findings;
  check_activation(findings, call.activation, args);
  if (findings.any()) return findings.report();
  check_given(findings, call);
  if (findings.any()) return findings.report();
  look_at(findings, call, args);
  if (findings.any()) return findings.report();
  Planned planned = {{}, call.tokens_in_device_memory, tokens_of(findings, call, args)};
  if (findings.any()) return findings.report();
  if (planned.tokens) set_tokens(args, *planned.tokens);
  findings.add(ops::check_plan(args), ops::CannEntry::kFfn);
  if (!findings.final()) check_ffn(findings, args, call.inner_precise);
  if (findings.final()) return findings.report();
  if (ops::is_empty(args.x)) return finish_empty(call.op, call.results);
  // Memory that is not there yet can still be set.
  if (!findings.any() && is_complete(args))
    if (const Status status = ops::check_run(args, args); !status.ok())
      findings.add(ACLNN_ERR_PARAM_INVALID, "{}", status.message());
  if (findings.any()) return findings.report();
  return finish_ffn(call, args, std::move(planned));
}

aclnnStatus ffn_first_phase(const Call& call) {
  return first_phase(
      call.op, [&] { return prepare(call); }, ACLNN_ERR_INNER_CREATE_EXECUTOR);
}

}  // namespace

aclnnStatus aclnnFFNGetWorkspaceSize(
    const aclTensor* x, const aclTensor* weight1, const aclTensor* weight2,
    const aclIntArray* expertTokens, const aclTensor* bias1, const aclTensor* bias2,
    const aclTensor* scale, const aclTensor* offset, const aclTensor* deqScale1,
    const aclTensor* deqScale2, const aclTensor* antiquantScale1, const aclTensor* antiquantScale2,
    const aclTensor* antiquantOffset1, const aclTensor* antiquantOffset2, const char* activation,
    int64_t innerPrecise, const aclTensor* y, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return ffn_first_phase(
      {"aclnnFFN",
       false,
       expertTokens,
       {x, weight1, weight2, nullptr, bias1, bias2, scale, offset, deqScale1, deqScale2,
        antiquantScale1, antiquantScale2, antiquantOffset1, antiquantOffset2},
       y,
       activation,
       innerPrecise,
       false,
       {workspaceSize, executor}});
}
WEFT_SECOND_PHASE(aclnnFFN, FailureCode::kInner)

aclnnStatus aclnnFFNV2GetWorkspaceSize(
    const aclTensor* x, const aclTensor* weight1, const aclTensor* weight2,
    const aclIntArray* expertTokens, const aclTensor* bias1, const aclTensor* bias2,
    const aclTensor* scale, const aclTensor* offset, const aclTensor* deqScale1,
    const aclTensor* deqScale2, const aclTensor* antiquantScale1, const aclTensor* antiquantScale2,
    const aclTensor* antiquantOffset1, const aclTensor* antiquantOffset2, const char* activation,
    int64_t innerPrecise, bool tokensIndexFlag, const aclTensor* y, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return ffn_first_phase(
      {"aclnnFFNV2",
       false,
       expertTokens,
       {x, weight1, weight2, nullptr, bias1, bias2, scale, offset, deqScale1, deqScale2,
        antiquantScale1, antiquantScale2, antiquantOffset1, antiquantOffset2},
       y,
       activation,
       innerPrecise,
       tokensIndexFlag,
       {workspaceSize, executor}});
}
WEFT_SECOND_PHASE(aclnnFFNV2, FailureCode::kInner)

aclnnStatus aclnnFFNV3GetWorkspaceSize(
    const aclTensor* x, const aclTensor* weight1, const aclTensor* weight2,
    const aclTensor* expertTokens, const aclTensor* bias1, const aclTensor* bias2,
    const aclTensor* scale, const aclTensor* offset, const aclTensor* deqScale1,
    const aclTensor* deqScale2, const aclTensor* antiquantScale1, const aclTensor* antiquantScale2,
    const aclTensor* antiquantOffset1, const aclTensor* antiquantOffset2, const char* activation,
    int64_t innerPrecise, bool tokensIndexFlag, const aclTensor* y, uint64_t* workspaceSize,
    aclOpExecutor** executor) {
  return ffn_first_phase(
      {"aclnnFFNV3",
       true,
       nullptr,
       {x, weight1, weight2, expertTokens, bias1, bias2, scale, offset, deqScale1, deqScale2,
        antiquantScale1, antiquantScale2, antiquantOffset1, antiquantOffset2},
       y,
       activation,
       innerPrecise,
       tokensIndexFlag,
       {workspaceSize, executor}});
}
WEFT_SECOND_PHASE(aclnnFFNV3, FailureCode::kInner)
