// SPDX-License-Identifier: Apache-2.0
// The collectives that combine elements.
#include "pytorch/process_group.h"
#include "pytorch/process_group_errors.h"
#include "pytorch/process_group_tensors.h"

namespace weft::python {
namespace {

using WorkPtr = ProcessGroup::WorkPtr;
using Tensors = ProcessGroup::Tensors;

/// A tensor that the reduction of all ranks' takes the place of.
struct Reduced {
  Dense tensor, input;  ///< the same memory but for premul_sum
  ReduceOp op;
};

Reduced reduced(const char* call, const at::Tensor& tensor, const c10d::ReduceOp& op) {
  const ReduceOp known = operation(call, tensor.scalar_type(), op);
  const Dense result(call, as_numbers(tensor));
  if (op.op_ != c10d::ReduceOp::PREMUL_SUM) return {result, result, known};
  return {result, Dense(call, to_reduce(call, tensor, op)), known};
}

Status reduce_everywhere(Context& context, Group& group, const Reduced& one) {
  WEFT_RETURN_IF_ERROR(weft::allreduce(context, group, one.input.data(), one.tensor.data(),
                                       one.tensor.count(), one.tensor.type(), one.op));
  one.tensor.write_back();
  return {};
}

/// A tensor that gets this rank's part of the reduction of all ranks' inputs.
struct ReducedPart {
  Dense output, input;
  ReduceOp op;
};

ReducedPart reduced_part(const char* call, const at::Tensor& output, const at::Tensor& input,
                         const c10d::ReduceOp& op, int ranks) {
  check_parts(call, output, input, ranks);
  return {Dense(call, as_numbers(output)), Dense(call, to_reduce(call, input, op)),
          operation(call, input.scalar_type(), op)};
}

Status scatter_reduced(Context& context, Group& group, const ReducedPart& one) {
  WEFT_RETURN_IF_ERROR(weft::reduce_scatter(context, group, one.input.data(), one.output.data(),
                                            one.output.count(), one.output.type(), one.op));
  one.output.write_back();
  return {};
}

}  // namespace

WorkPtr ProcessGroup::allreduce(Tensors& tensors, const c10d::AllreduceOptions& opts) {
  const at::Tensor& tensor = only("all_reduce", tensors);
  return start(
      {c10d::OpType::ALLREDUCE, "weft:all_reduce", opts.timeout, opts.asyncOp}, tensors,
      [one = reduced("all_reduce", tensor, opts.reduceOp)](Context& context, Group& group) {
        return reduce_everywhere(context, group, one);
      });
}

WorkPtr ProcessGroup::allreduce_coalesced(Tensors& tensors,
                                          const c10d::AllreduceCoalescedOptions& opts) {
  std::vector<Reduced> all;
  for (const at::Tensor& tensor : tensors)
    all.push_back(reduced("all_reduce_coalesced", tensor, opts.reduceOp));
  return start(
      {c10d::OpType::ALLREDUCE_COALESCED, "weft:all_reduce_coalesced", opts.timeout, opts.asyncOp},
      tensors, [all = std::move(all)](Context& context, Group& group) -> Status {
        for (const Reduced& one : all) WEFT_RETURN_IF_ERROR(reduce_everywhere(context, group, one));
        return {};
      });
}

WorkPtr ProcessGroup::reduce(Tensors& tensors, const c10d::ReduceOptions& opts) {
  const at::Tensor& tensor = only("reduce", tensors);
  return start(
      {c10d::OpType::REDUCE, "weft:reduce", opts.timeout, opts.asyncOp}, tensors,
      [one = reduced("reduce", tensor, opts.reduceOp), root = static_cast<int>(opts.rootRank)](
          Context& context, Group& group) -> Status {
        WEFT_RETURN_IF_ERROR(weft::reduce(context, group, one.input.data(), one.tensor.data(),
                                          one.tensor.count(), one.tensor.type(), one.op, root));
        if (group.rank() == root) one.tensor.write_back();
        return {};
      });
}

WorkPtr ProcessGroup::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                           const c10d::ReduceScatterOptions& opts) {
  return start(
      {c10d::OpType::_REDUCE_SCATTER_BASE, "weft:reduce_scatter_tensor", opts.timeout,
       opts.asyncOp},
      {output},
      [one = reduced_part("reduce_scatter_tensor", output, input, opts.reduceOp, size_)](
          Context& context, Group& group) { return scatter_reduced(context, group, one); });
}

WorkPtr ProcessGroup::reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                      const c10d::ReduceScatterOptions& opts) {
  constexpr const char* kCall = "reduce_scatter_tensor_coalesced";
  if (outputs.size() != inputs.size())
    refuse_call(kCall,
                c10::str("there are ", outputs.size(), " outputs but ", inputs.size(), " inputs"));
  std::vector<ReducedPart> all;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    all.push_back(reduced_part(kCall, outputs[i], inputs[i], opts.reduceOp, size_));
  return start({c10d::OpType::REDUCE_SCATTER_TENSOR_COALESCED,
                "weft:reduce_scatter_tensor_coalesced", opts.timeout, opts.asyncOp},
               outputs, [all = std::move(all)](Context& context, Group& group) -> Status {
                 for (const ReducedPart& one : all)
                   WEFT_RETURN_IF_ERROR(scatter_reduced(context, group, one));
                 return {};
               });
}

WorkPtr ProcessGroup::reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                     const c10d::ReduceScatterOptions& opts) {
  constexpr const char* kCall = "reduce_scatter";
  const at::Tensor& output = only(kCall, outputs);
  Tensors list;
  for (const at::Tensor& input : only(kCall, inputs))
    list.push_back(to_reduce(kCall, input, opts.reduceOp));
  if (list.size() != static_cast<std::size_t>(size_))
    refuse_call(kCall, c10::str("there are ", list.size(), " inputs but ", size_, " ranks"));
  check_parts(kCall, as_numbers(output), list[static_cast<std::size_t>(rank_)], 1);
  const Dense result(kCall, as_numbers(output));
  Parts parts(kCall, std::move(list), Parts::Use::kRead);
  if (overlap(result.memory(), parts.memory())) parts.move_apart();
  return start({c10d::OpType::REDUCE_SCATTER, "weft:reduce_scatter", opts.timeout, opts.asyncOp},
               outputs,
               [result, parts = std::move(parts),
                op = operation(kCall, output.scalar_type(), opts.reduceOp)](
                   Context& context, Group& group) -> Status {
                 WEFT_RETURN_IF_ERROR(weft::reduce_scatterv(context, group, parts.data(),
                                                            parts.counts(), parts.offsets(),
                                                            result.data(), result.type(), op));
                 result.write_back();
                 return {};
               });
}

}  // namespace weft::python
