// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks.
#include "pytorch/process_group.h"
#include "pytorch/process_group_tensors.h"

namespace weft::python {

ProcessGroup::WorkPtr ProcessGroup::post(c10d::OpType type, const char* call, Tensors& tensors,
                                         int peer, int tag) {
  const bool receives = type != c10d::OpType::SEND;
  const Dense one(call, only(call, tensors));
  auto work = c10::make_intrusive<Work>(rank_, type, call, sequence_, tensors);
  work->set_member(member_);
  member_->post({.kind = receives ? Message::Kind::kRecv : Message::Kind::kSend,
                 .data = one.data(),
                 .count = one.count(),
                 .dtype = one.type(),
                 .peer = peer},
                tag, seconds(options_->timeout),
                [work, one, receives, options = options_](const Status& status, int source) {
                  if (status.ok() && receives) one.write_back();
                  work->finish(explained(status, *options), source);
                });
  return work;
}

ProcessGroup::WorkPtr ProcessGroup::send(Tensors& tensors, int peer, int tag) {
  return post(c10d::OpType::SEND, "weft:send", tensors, peer, tag);
}

ProcessGroup::WorkPtr ProcessGroup::recv(Tensors& tensors, int peer, int tag) {
  return post(c10d::OpType::RECV, "weft:recv", tensors, peer, tag);
}

ProcessGroup::WorkPtr ProcessGroup::recvAnysource(Tensors& tensors, int tag) {
  return post(c10d::OpType::RECVANYSOURCE, "weft:recv_any_source", tensors, kAnyPeer, tag);
}

}  // namespace weft::python
