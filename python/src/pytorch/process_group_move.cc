// SPDX-License-Identifier: Apache-2.0
// The collectives that move elements and leave them as they are.
#include <torch/csrc/distributed/c10d/Utils.hpp>

#include "pytorch/process_group.h"
#include "pytorch/process_group_tensors.h"

namespace weft::python {
namespace {

using WorkPtr = ProcessGroup::WorkPtr;
using Tensors = ProcessGroup::Tensors;
using Counts = std::vector<std::int64_t>;

/// A tensor of every rank, and all of them in one.
struct Gathered {
  Dense output, input;
};

Gathered gathered(const char* call, const at::Tensor& output, const at::Tensor& input, int ranks) {
  check_parts(call, input, output, ranks);
  return {Dense(call, output), Dense(call, input)};
}

Status gather_everywhere(Context& context, Group& group, const Gathered& one) {
  WEFT_RETURN_IF_ERROR(weft::allgather(context, group, one.input.data(), one.output.data(),
                                       one.input.count(), one.input.type()));
  one.output.write_back();
  return {};
}

/// A tensor of every rank, each in a tensor of a list.
struct GatheredList {
  Parts outputs;
  Dense input;
};

GatheredList gathered_list(const char* call, const Tensors& outputs, const at::Tensor& input,
                           int rank, int ranks) {
  if (outputs.size() != static_cast<std::size_t>(ranks))
    refuse_call(call, c10::str("there are ", outputs.size(), " outputs but ", ranks, " ranks"));
  check_parts(call, input, outputs[static_cast<std::size_t>(rank)], 1);
  GatheredList made{Parts(call, outputs, Parts::Use::kWritten), Dense(call, input)};
  if (overlap(made.outputs.memory(), made.input.memory())) made.outputs.move_apart();
  return made;
}

Status gather_everywhere(Context& context, Group& group, const GatheredList& one) {
  WEFT_RETURN_IF_ERROR(weft::allgatherv(context, group, one.input.data(), one.outputs.data(),
                                        one.outputs.counts(), one.outputs.offsets(),
                                        one.input.type()));
  one.outputs.write_back();
  return {};
}

Counts no_counts(int ranks) { return Counts(static_cast<std::size_t>(ranks)); }

Counts count_of(int rank, std::int64_t count, int ranks) {
  Counts counts = no_counts(ranks);
  counts.at(static_cast<std::size_t>(rank)) = count;
  return counts;
}

void check_root(const char* call, std::int64_t root, int ranks) {
  if (root < 0 || root >= ranks)
    refuse_call(call, c10::str("the root is ", root, " but must be 0 to ", ranks - 1));
}

void check_empty(const char* call, std::size_t lists) {
  if (lists > 0) refuse_call(call, "only the root has a list of tensors; pass none elsewhere");
}

/// The splits of an axis, in elements.
Counts split_counts(const char* call, const char* which, const Counts& splits,
                    const at::Tensor& tensor, int ranks) {
  const std::int64_t length = tensor.dim() > 0 ? tensor.size(0) : 0;
  const std::int64_t row = length > 0 ? tensor.numel() / length : 1;
  if (splits.empty() && length % ranks != 0)
    refuse_call(call, c10::str("the ", which, " has ", length, " rows, which ", ranks,
                               " ranks cannot share evenly; give its splits"));
  Counts counts = splits.empty() ? Counts(static_cast<std::size_t>(ranks), length / ranks) : splits;
  std::int64_t sum = 0;
  for (std::int64_t& count : counts) {
    sum += count;
    count *= row;
  }
  if (counts.size() != static_cast<std::size_t>(ranks) || sum != length)
    refuse_call(call,
                c10::str("the ", counts.size(), " splits of the ", which, " are ", sum,
                         " rows together but must be ", length, " rows for ", ranks, " ranks"));
  return counts;
}

Counts offsets_of(const Counts& counts) {
  Counts offsets;
  std::int64_t sum = 0;
  for (const std::int64_t count : counts) {
    offsets.push_back(sum);
    sum += count;
  }
  return offsets;
}

}  // namespace

WorkPtr ProcessGroup::broadcast(Tensors& tensors, const c10d::BroadcastOptions& opts) {
  return start({c10d::OpType::BROADCAST, "weft:broadcast", opts.timeout, opts.asyncOp}, tensors,
               [one = Dense("broadcast", only("broadcast", tensors)),
                root = static_cast<int>(opts.rootRank)](Context& context, Group& group) -> Status {
                 WEFT_RETURN_IF_ERROR(
                     weft::broadcast(context, group, one.data(), one.count(), one.type(), root));
                 one.write_back();
                 return {};
               });
}

WorkPtr ProcessGroup::_allgather_base(at::Tensor& output, at::Tensor& input,
                                      const c10d::AllgatherOptions& opts) {
  return start(
      {c10d::OpType::_ALLGATHER_BASE, "weft:all_gather_into_tensor", opts.timeout, opts.asyncOp},
      {output},
      [one = gathered("all_gather_into_tensor", output, input, size_)](
          Context& context, Group& group) { return gather_everywhere(context, group, one); });
}

WorkPtr ProcessGroup::allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                      const c10d::AllgatherOptions& opts) {
  constexpr const char* kCall = "all_gather_into_tensor_coalesced";
  if (outputs.size() != inputs.size())
    refuse_call(kCall,
                c10::str("there are ", outputs.size(), " outputs but ", inputs.size(), " inputs"));
  std::vector<Gathered> all;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    all.push_back(gathered(kCall, outputs[i], inputs[i], size_));
  return start({c10d::OpType::COALESCED, "weft:all_gather_into_tensor_coalesced", opts.timeout,
                opts.asyncOp},
               outputs, [all = std::move(all)](Context& context, Group& group) -> Status {
                 for (const Gathered& one : all)
                   WEFT_RETURN_IF_ERROR(gather_everywhere(context, group, one));
                 return {};
               });
}

WorkPtr ProcessGroup::allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                                const c10d::AllgatherOptions& opts) {
  constexpr const char* kCall = "all_gather";
  const Tensors& list = only(kCall, outputs);
  return start(
      {c10d::OpType::ALLGATHER, "weft:all_gather", opts.timeout, opts.asyncOp}, list,
      [one = gathered_list(kCall, list, only(kCall, inputs), rank_, size_)](
          Context& context, Group& group) { return gather_everywhere(context, group, one); });
}

WorkPtr ProcessGroup::allgather_coalesced(std::vector<Tensors>& outputs, Tensors& inputs,
                                          const c10d::AllgatherOptions& opts) {
  constexpr const char* kCall = "all_gather_coalesced";
  std::vector<GatheredList> all;
  Tensors flat;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Tensors of_one;  // outputs has a list for each rank
    for (const Tensors& of_rank : outputs) of_one.push_back(of_rank.at(i));
    all.push_back(gathered_list(kCall, of_one, inputs[i], rank_, size_));
    flat.insert(flat.end(), of_one.begin(), of_one.end());
  }
  return start(
      {c10d::OpType::ALLGATHER_COALESCED, "weft:all_gather_coalesced", opts.timeout, opts.asyncOp},
      flat, [all = std::move(all)](Context& context, Group& group) -> Status {
        for (const GatheredList& one : all)
          WEFT_RETURN_IF_ERROR(gather_everywhere(context, group, one));
        return {};
      });
}

WorkPtr ProcessGroup::gather(std::vector<Tensors>& outputs, Tensors& inputs,
                             const c10d::GatherOptions& opts) {
  constexpr const char* kCall = "gather";
  check_root(kCall, opts.rootRank, size_);
  const int root = static_cast<int>(opts.rootRank);
  const Dense input(kCall, only(kCall, inputs));
  if (rank_ != root) check_empty(kCall, outputs.size());
  const Tensors list = rank_ == root ? only(kCall, outputs) : Tensors();
  GatheredList one = rank_ == root ? gathered_list(kCall, list, input.tensor(), rank_, size_)
                                   : GatheredList{Parts(kCall, {}, Parts::Use::kWritten), input};
  return start({c10d::OpType::GATHER, "weft:gather", opts.timeout, opts.asyncOp}, list,
               [one = std::move(one), to = count_of(root, input.count(), size_),
                none = no_counts(size_), root](Context& context, Group& group) -> Status {
                 const bool receives = group.rank() == root;
                 WEFT_RETURN_IF_ERROR(
                     weft::alltoallv(context, group, one.input.data(), one.outputs.data(),
                                     {.send_counts = to,
                                      .send_offsets = none,
                                      .recv_counts = receives ? one.outputs.counts() : none,
                                      .recv_offsets = receives ? one.outputs.offsets() : none},
                                     one.input.type()));
                 one.outputs.write_back();
                 return {};
               });
}

WorkPtr ProcessGroup::scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                              const c10d::ScatterOptions& opts) {
  constexpr const char* kCall = "scatter";
  check_root(kCall, opts.rootRank, size_);
  const int root = static_cast<int>(opts.rootRank);
  const Dense output(kCall, only(kCall, outputs));
  if (rank_ != root) check_empty(kCall, inputs.size());
  const Tensors list = rank_ == root ? only(kCall, inputs) : Tensors();
  if (rank_ == root) {
    if (list.size() != static_cast<std::size_t>(size_))
      refuse_call(kCall, c10::str("there are ", list.size(), " inputs but ", size_, " ranks"));
    check_parts(kCall, output.tensor(), list[static_cast<std::size_t>(root)], 1);
  }
  Parts parts(kCall, list, Parts::Use::kRead);
  if (overlap(parts.memory(), output.memory())) parts.move_apart();
  return start(
      {c10d::OpType::SCATTER, "weft:scatter", opts.timeout, opts.asyncOp}, outputs,
      [output, parts = std::move(parts), from = count_of(root, output.count(), size_),
       none = no_counts(size_), root](Context& context, Group& group) -> Status {
        const bool sends = group.rank() == root;
        WEFT_RETURN_IF_ERROR(weft::alltoallv(context, group, parts.data(), output.data(),
                                             {.send_counts = sends ? parts.counts() : none,
                                              .send_offsets = sends ? parts.offsets() : none,
                                              .recv_counts = from,
                                              .recv_offsets = none},
                                             output.type()));
        output.write_back();
        return {};
      });
}

WorkPtr ProcessGroup::alltoall_base(at::Tensor& output, at::Tensor& input, Counts& output_splits,
                                    Counts& input_splits, const c10d::AllToAllOptions& opts) {
  constexpr const char* kCall = "all_to_all_single";
  const Dense from(kCall, input), to(kCall, output);
  if (from.type() != to.type() || input.scalar_type() != output.scalar_type())
    refuse_call(kCall, c10::str("input and output have dtypes ", input.scalar_type(), " and ",
                                output.scalar_type(), " but must have one"));
  const std::int64_t each = input.numel() > 0 ? from.count() / input.numel() : 1;
  Counts sent = split_counts(kCall, "input", input_splits, input, size_);
  Counts received = split_counts(kCall, "output", output_splits, output, size_);
  for (Counts* counts : {&sent, &received})
    for (std::int64_t& count : *counts) count *= each;
  const bool even = input_splits.empty() && output_splits.empty();
  return start({c10d::OpType::ALLTOALL_BASE, "weft:all_to_all_single", opts.timeout, opts.asyncOp},
               {output},
               [from, to, even, sent, received](Context& context, Group& group) -> Status {
                 WEFT_RETURN_IF_ERROR(even ? weft::alltoall(context, group, from.data(), to.data(),
                                                            sent[0], from.type())
                                           : weft::alltoallv(context, group, from.data(), to.data(),
                                                             {.send_counts = sent,
                                                              .send_offsets = offsets_of(sent),
                                                              .recv_counts = received,
                                                              .recv_offsets = offsets_of(received)},
                                                             from.type()));
                 to.write_back();
                 return {};
               });
}

WorkPtr ProcessGroup::alltoall(Tensors& outputs, Tensors& inputs,
                               const c10d::AllToAllOptions& opts) {
  constexpr const char* kCall = "all_to_all";
  for (const Tensors* list : {&outputs, &inputs})
    if (list->size() != static_cast<std::size_t>(size_))
      refuse_call(kCall, c10::str("a list has ", list->size(), " tensors but must have ", size_,
                                  ", one for each rank"));
  check_parts(kCall, outputs[static_cast<std::size_t>(rank_)],
              inputs[static_cast<std::size_t>(rank_)], 1);
  Parts from(kCall, inputs, Parts::Use::kRead), to(kCall, outputs, Parts::Use::kWritten);
  if (overlap(from.memory(), to.memory())) {
    from.move_apart();
    to.move_apart();
  }
  return start(
      {c10d::OpType::ALLTOALL, "weft:all_to_all", opts.timeout, opts.asyncOp}, outputs,
      [from = std::move(from), to = std::move(to)](Context& context, Group& group) -> Status {
        WEFT_RETURN_IF_ERROR(weft::alltoallv(context, group, from.data(), to.data(),
                                             {.send_counts = from.counts(),
                                              .send_offsets = from.offsets(),
                                              .recv_counts = to.counts(),
                                              .recv_offsets = to.offsets()},
                                             from.type()));
        to.write_back();
        return {};
      });
}

}  // namespace weft::python
