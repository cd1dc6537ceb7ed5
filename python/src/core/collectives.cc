// SPDX-License-Identifier: Apache-2.0
// Collectives and messages over arrays. The library takes pointers and counts; what is checked here
// is that an array is dense and has as many elements as the call moves.
#include "weft/collectives.h"

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "core/arguments.h"
#include "core/bindings.h"
#include "core/gil.h"
#include "core/place.h"

namespace weft::python {
namespace {

using Counts = std::vector<std::int64_t>;

template <typename Ref>
Ref dense(const Arguments& from, const char* name, const Ref& tensor) {
  if (tensor.given() && !tensor.dense())
    refuse(from.op(), name, "is " + to_string(tensor) + " but must be dense. Copy it.");
  return tensor;
}

ConstTensorRef dense_input(Arguments& from, const char* name) {
  ConstTensorRef tensor;
  from.input(name, tensor);
  return dense(from, name, tensor);
}

TensorRef dense_output(Arguments& from, const char* name) {
  TensorRef tensor;
  from.output(name, tensor);
  return dense(from, name, tensor);
}

ReduceOp take_op(Arguments& from) {
  ReduceOp op = ReduceOp::kSum;
  from.choice("op", op,
              {{"sum", ReduceOp::kSum},
               {"prod", ReduceOp::kProd},
               {"max", ReduceOp::kMax},
               {"min", ReduceOp::kMin}});
  return op;
}

int take_rank(Arguments& from, const char* name) {
  std::int64_t rank = 0;
  from.number(name, rank);
  return static_cast<int>(std::clamp<std::int64_t>(rank, -1, 1 << 20));
}

Counts take_counts(Arguments& from, const char* name) {
  Counts counts;
  from.numbers(name, counts);
  return counts;
}

// Elements up to the end of the last part. What is wrong with counts and offsets themselves, the
// library says.
std::int64_t end_of(std::span<const std::int64_t> counts, std::span<const std::int64_t> offsets) {
  std::int64_t end = 0;
  for (std::size_t i = 0; i < std::min(counts.size(), offsets.size()); ++i) {
    std::int64_t part = 0;
    if (counts[i] > 0 && !__builtin_add_overflow(offsets[i], counts[i], &part))
      end = std::max(end, part);
  }
  return end;
}

// The rules of one call about two buffers. `op` and the names are those of messages.
struct Rules {
  const char* op;
  Status has(const char* name, const ConstTensorRef& tensor, std::int64_t elements) const {
    if (tensor.given() && tensor.elements() == elements) return {};
    return Status(StatusCode::kInvalidArgument, std::string(op) + ": " + name + " is " +
                                                    to_string(tensor) + " but needs " +
                                                    std::to_string(elements) + " elements.");
  }
  Status has_least(const char* name, const ConstTensorRef& tensor, std::int64_t elements) const {
    return tensor.given() && tensor.elements() >= elements ? Status() : has(name, tensor, elements);
  }
  Status alike(const char* name, const ConstTensorRef& tensor, const char* other_name,
               const ConstTensorRef& other) const {
    if (!tensor.given() || !other.given() || tensor.dtype() == other.dtype()) return {};
    return Status(StatusCode::kInvalidArgument,
                  std::string(op) + ": " + name + " is " + to_string(tensor) + " but " +
                      other_name + " is " + to_string(other) + ". Both must have one dtype.");
  }
};

// A collective of `send` and `recv`. `action` makes the call.
template <typename Action>
void collective(nb::handle target, Arguments& from, const Action& action) {
  from.end();
  const Rules rules{from.op()};
  const Place place = Place::of(from.op(), target, true);
  without_gil([&] {
    return place.run(
        [&](Context& context, Group* group) { return action(context, *group, rules); });
  });
}

void run_allreduce(nb::handle target, const nb::args& values) {
  Arguments from("allreduce", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  const ReduceOp op = take_op(from);
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    WEFT_RETURN_IF_ERROR(rules.has("recv", recv, send.elements()));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return allreduce(context, group, send.data(), recv.data(), send.elements(), send.dtype(), op);
  });
}

void run_reduce(nb::handle target, const nb::args& values) {
  Arguments from("reduce", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  const ReduceOp op = take_op(from);
  const int root = take_rank(from, "root");
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    if (group.rank() == root) WEFT_RETURN_IF_ERROR(rules.has("recv", recv, send.elements()));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return reduce(context, group, send.data(), recv.data(), send.elements(), send.dtype(), op,
                  root);
  });
}

void run_reduce_scatter(nb::handle target, const nb::args& values) {
  Arguments from("reduce_scatter", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  const ReduceOp op = take_op(from);
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    WEFT_RETURN_IF_ERROR(rules.has("send", send, group.ranks() * recv.elements()));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return reduce_scatter(context, group, send.data(), recv.data(), recv.elements(), send.dtype(),
                          op);
  });
}

void run_reduce_scatterv(nb::handle target, const nb::args& values) {
  Arguments from("reduce_scatterv", values);
  const ConstTensorRef send = dense_input(from, "send");
  const Counts counts = take_counts(from, "counts"), offsets = take_counts(from, "offsets");
  const TensorRef recv = dense_output(from, "recv");
  const ReduceOp op = take_op(from);
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    WEFT_RETURN_IF_ERROR(rules.has_least("send", send, end_of(counts, offsets)));
    const auto own = static_cast<std::size_t>(group.rank());
    if (own < counts.size()) WEFT_RETURN_IF_ERROR(rules.has("recv", recv, counts[own]));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return reduce_scatterv(context, group, send.data(), counts, offsets, recv.data(), send.dtype(),
                           op);
  });
}

void run_allgather(nb::handle target, const nb::args& values) {
  Arguments from("allgather", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    WEFT_RETURN_IF_ERROR(rules.has("recv", recv, group.ranks() * send.elements()));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return allgather(context, group, send.data(), recv.data(), send.elements(), send.dtype());
  });
}

void run_allgatherv(nb::handle target, const nb::args& values) {
  Arguments from("allgatherv", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  const Counts counts = take_counts(from, "counts"), offsets = take_counts(from, "offsets");
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    WEFT_RETURN_IF_ERROR(rules.has_least("recv", recv, end_of(counts, offsets)));
    const auto own = static_cast<std::size_t>(group.rank());
    if (own < counts.size()) WEFT_RETURN_IF_ERROR(rules.has("send", send, counts[own]));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return allgatherv(context, group, send.data(), recv.data(), counts, offsets, send.dtype());
  });
}

void run_broadcast(nb::handle target, const nb::args& values) {
  Arguments from("broadcast", values);
  const TensorRef buffer = dense_output(from, "buffer");
  const int root = take_rank(from, "root");
  collective(target, from, [&](Context& context, Group& group, const Rules&) {
    return broadcast(context, group, buffer.data(), buffer.elements(), buffer.dtype(), root);
  });
}

void run_scatter(nb::handle target, const nb::args& values) {
  Arguments from("scatter", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  const int root = take_rank(from, "root");
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    const std::int64_t all = group.ranks() * recv.elements();
    if (group.rank() == root) WEFT_RETURN_IF_ERROR(rules.has("send", send, all));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return scatter(context, group, send.data(), recv.data(), recv.elements(), recv.dtype(), root);
  });
}

void run_alltoall(nb::handle target, const nb::args& values) {
  Arguments from("alltoall", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    const std::int64_t part = send.elements() / group.ranks();
    WEFT_RETURN_IF_ERROR(rules.has("send", send, group.ranks() * part));
    WEFT_RETURN_IF_ERROR(rules.has("recv", recv, send.elements()));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return alltoall(context, group, send.data(), recv.data(), part, send.dtype());
  });
}

void run_alltoallv(nb::handle target, const nb::args& values) {
  Arguments from("alltoallv", values);
  const ConstTensorRef send = dense_input(from, "send");
  const TensorRef recv = dense_output(from, "recv");
  const Counts send_counts = take_counts(from, "send_counts");
  const Counts send_offsets = take_counts(from, "send_offsets");
  const Counts recv_counts = take_counts(from, "recv_counts");
  const Counts recv_offsets = take_counts(from, "recv_offsets");
  collective(target, from, [&](Context& context, Group& group, const Rules& rules) -> Status {
    WEFT_RETURN_IF_ERROR(rules.has_least("send", send, end_of(send_counts, send_offsets)));
    WEFT_RETURN_IF_ERROR(rules.has_least("recv", recv, end_of(recv_counts, recv_offsets)));
    WEFT_RETURN_IF_ERROR(rules.alike("recv", recv, "send", send));
    return alltoallv(context, group, send.data(), recv.data(),
                     {send_counts, send_offsets, recv_counts, recv_offsets}, send.dtype());
  });
}

void run_send(nb::handle target, const nb::args& values) {
  Arguments from("send", values);
  const ConstTensorRef data = dense_input(from, "data");
  const int peer = take_rank(from, "peer");
  collective(target, from, [&](Context& context, Group& group, const Rules&) {
    return send(context, group, data.data(), data.elements(), data.dtype(), peer);
  });
}

void run_recv(nb::handle target, const nb::args& values) {
  Arguments from("recv", values);
  const TensorRef data = dense_output(from, "data");
  const int peer = take_rank(from, "peer");
  collective(target, from, [&](Context& context, Group& group, const Rules&) {
    return recv(context, group, data.data(), data.elements(), data.dtype(), peer);
  });
}

// Values are those of all messages: is it a recv, data, peer.
void run_batch(nb::handle target, const nb::args& values) {
  Arguments from("batch_send_recv", values);
  std::vector<Message> messages(values.size() / 3);
  for (Message& message : messages) {
    bool is_recv = false;
    from.flag("kind", is_recv);
    const ConstTensorRef data = is_recv ? dense_output(from, "data") : dense_input(from, "data");
    message = {.kind = is_recv ? Message::Kind::kRecv : Message::Kind::kSend,
               .data = const_cast<void*>(data.data()),
               .count = data.elements(),
               .dtype = data.dtype(),
               .peer = take_rank(from, "peer")};
  }
  collective(target, from, [&](Context& context, Group& group, const Rules&) {
    return batch_send_recv(context, group, messages);
  });
}

}  // namespace

void bind_collectives(nb::module_& module) {
  module.def("allreduce", &run_allreduce);
  module.def("reduce", &run_reduce);
  module.def("reduce_scatter", &run_reduce_scatter);
  module.def("reduce_scatterv", &run_reduce_scatterv);
  module.def("allgather", &run_allgather);
  module.def("allgatherv", &run_allgatherv);
  module.def("broadcast", &run_broadcast);
  module.def("scatter", &run_scatter);
  module.def("alltoall", &run_alltoall);
  module.def("alltoallv", &run_alltoallv);
  module.def("send", &run_send);
  module.def("recv", &run_recv);
  module.def("batch_send_recv", &run_batch);
}

}  // namespace weft::python
