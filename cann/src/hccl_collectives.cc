// SPDX-License-Identifier: Apache-2.0
// hccl/hccl.h: collectives and messages as tasks of streams. Everything that a call points to, but
// the buffers, is copied: the program may free it when the call returns.
#include <cstddef>
#include <vector>

#include "hccl/hccl.h"
#include "hccl_call.h"
#include "hccl_checks.h"

using namespace weft::cann;
using weft::AlltoallvParts;
using weft::bytes_of;
using weft::Context;
using weft::DType;
using weft::Group;
using weft::Message;
using weft::ReduceOp;
using weft::ops::begins;
using weft::ops::extent;
using weft::ops::is_part;

namespace {

using Work = Communicator::Work;
using Numbers = std::vector<std::int64_t>;

Error submit(const std::shared_ptr<Communicator>& communicator, aclrtStream handle, Work work) {
  StreamRef stream;
  Error error = Runtime::instance().stream(handle, stream);
  if (error.ok() && &stream->device != &communicator->device)
    error = {HCCL_E_RUNTIME,
             fmt::format("the stream is on device {}, but the communicator's rank on device {}",
                         stream->device.id, communicator->device.id)};
  if (error.ok()) error = Communicator::submit(communicator, stream->stream, std::move(work));
  if (!error.ok()) error.code = HCCL_E_RUNTIME;
  return error;
}

/// Puts the work that describe(checks) returns into the stream if the checks agree.
template <typename Describe>
HcclResult collective(const char* function, HcclComm comm, aclrtStream stream,
                      Describe&& describe) {
  return hccl_call(function, [&] {
    return with_communicator(comm, [&](const Communicators::Visit& communicator) {
      Checks checks(*communicator);
      Work work = describe(checks);
      return checks.ok() ? submit(communicator.get(), stream, std::move(work)) : checks.error();
    });
  });
}

std::int64_t of_rank(const Numbers& numbers, const Checks& checks) {
  return numbers.empty() ? 0 : numbers[static_cast<std::size_t>(checks.rank())];
}

/// What a rank sends and gets must be of one type.
DType common_type(Checks& checks, const HcclDataType& send, const HcclDataType& recv) {
  const DType type = checks.type("sendType", send);
  checks.type("recvType", recv);
  checks.rule(HCCL_E_PARA, number_of(send) == number_of(recv),
              "sendType and recvType differ but must be the same");
  return type;
}

Work send_work(Checks& checks, const void* data, uint64_t count, const HcclDataType& data_type,
               uint32_t to) {
  const DType type = checks.type("dataType", data_type);
  const int peer = checks.peer("destRank", to);
  const std::int64_t elements = checks.count("count", count, type);
  checks.given({"sendBuf", data, bytes_of(type, elements)});
  return [=](Context& context, Group& group) {
    return weft::send(context, group, data, elements, type, peer);
  };
}

Work recv_work(Checks& checks, void* data, uint64_t count, const HcclDataType& data_type,
               uint32_t from) {
  const DType type = checks.type("dataType", data_type);
  const int peer = checks.peer("srcRank", from);
  const std::int64_t elements = checks.count("count", count, type);
  checks.given({"recvBuf", data, bytes_of(type, elements)});
  return [=](Context& context, Group& group) {
    return weft::recv(context, group, data, elements, type, peer);
  };
}

Message read_message(Checks& checks, const HcclSendRecvItem& item) {
  const int kind = number_of(item.sendRecvType);
  checks.rule(HCCL_E_PARA, kind == HCCL_SEND || kind == HCCL_RECV,
              fmt::format("sendRecvType of an item is {} but must be 0 or 1", kind));
  Message message{};
  message.kind = kind == HCCL_SEND ? Message::Kind::kSend : Message::Kind::kRecv;
  message.data = item.buf;
  message.dtype = checks.type("dataType of an item", item.dataType);
  message.peer = checks.rank("remoteRank of an item", item.remoteRank);
  message.count = checks.count("count of an item", item.count, message.dtype);
  checks.given({"buf of an item", message.data, bytes_of(message.dtype, message.count)});
  return message;
}

void check_apart(Checks& checks, const std::vector<Message>& messages) {
  const auto buffer = [](const char* name, const Message& message) {
    return Buffer{name, message.data, bytes_of(message.dtype, message.count)};
  };
  for (const Message& message : messages)
    for (const Message& other : messages)
      if (message.kind == Message::Kind::kRecv && &message != &other)
        checks.apart(buffer("buf of a HCCL_RECV item", message), buffer("that of another", other));
}

}  // namespace

HcclResult HcclAllReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType,
                         HcclReduceOp op, HcclComm comm, aclrtStream stream) {
  return collective("HcclAllReduce", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    const std::int64_t elements = checks.count("count", count, type);
    const std::int64_t bytes = bytes_of(type, elements);
    const Buffer send{"sendBuf", sendBuf, bytes}, recv{"recvBuf", recvBuf, bytes};
    checks.given(send).given(recv).apart(recv, send, sendBuf == recvBuf);
    return [=](Context& context, Group& group) {
      return weft::allreduce(context, group, sendBuf, recvBuf, elements, type, operation);
    };
  });
}

HcclResult HcclReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType,
                      HcclReduceOp op, uint32_t root, HcclComm comm, aclrtStream stream) {
  return collective("HcclReduce", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    const int to = checks.rank("root", root);
    const std::int64_t elements = checks.count("count", count, type);
    const std::int64_t bytes = bytes_of(type, elements);
    const Buffer send{"sendBuf", sendBuf, bytes}, recv{"recvBuf", recvBuf, bytes};
    checks.given(send);
    if (checks.rank() == to) checks.given(recv).apart(recv, send, sendBuf == recvBuf);
    return [=](Context& context, Group& group) {
      return weft::reduce(context, group, sendBuf, recvBuf, elements, type, operation, to);
    };
  });
}

HcclResult HcclReduceScatter(void* sendBuf, void* recvBuf, uint64_t recvCount,
                             HcclDataType dataType, HcclReduceOp op, HcclComm comm,
                             aclrtStream stream) {
  return collective("HcclReduceScatter", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    const std::int64_t elements = checks.count("recvCount", recvCount, type, checks.ranks());
    const std::int64_t bytes = bytes_of(type, elements);
    const Buffer send{"sendBuf", sendBuf, bytes * checks.ranks()}, recv{"recvBuf", recvBuf, bytes};
    checks.given(send).given(recv).apart(recv, send,
                                         is_part(recvBuf, sendBuf, bytes, checks.ranks()));
    return [=](Context& context, Group& group) {
      return weft::reduce_scatter(context, group, sendBuf, recvBuf, elements, type, operation);
    };
  });
}

HcclResult HcclReduceScatterV(void* sendBuf, const void* sendCounts, const void* sendDispls,
                              void* recvBuf, uint64_t recvCount, HcclDataType dataType,
                              HcclReduceOp op, HcclComm comm, aclrtStream stream) {
  return collective("HcclReduceScatterV", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    const Numbers counts = checks.counts("sendCounts", sendCounts, checks.ranks(), type);
    const Numbers offsets = checks.offsets("sendDispls", sendDispls, type);
    const std::int64_t elements = checks.count("recvCount", recvCount, type);
    checks.rule(HCCL_E_PARA, elements == of_rank(counts, checks),
                "recvCount differs from this rank's number in sendCounts");
    const Buffer send{"sendBuf", sendBuf, extent(counts, offsets, type)};
    const Buffer recv{"recvBuf", recvBuf, bytes_of(type, elements)};
    const bool in_place = begins(recvBuf, sendBuf, bytes_of(type, of_rank(offsets, checks)));
    checks.given(send).given(recv).apart(recv, send, in_place);
    return [=](Context& context, Group& group) {
      return weft::reduce_scatterv(context, group, sendBuf, counts, offsets, recvBuf, type,
                                   operation);
    };
  });
}

HcclResult HcclAllGather(void* sendBuf, void* recvBuf, uint64_t sendCount, HcclDataType dataType,
                         HcclComm comm, aclrtStream stream) {
  return collective("HcclAllGather", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const std::int64_t elements = checks.count("sendCount", sendCount, type, checks.ranks());
    const std::int64_t bytes = bytes_of(type, elements);
    const Buffer send{"sendBuf", sendBuf, bytes}, recv{"recvBuf", recvBuf, bytes * checks.ranks()};
    checks.given(send).given(recv).apart(recv, send,
                                         begins(sendBuf, recvBuf, checks.rank() * bytes));
    return [=](Context& context, Group& group) {
      return weft::allgather(context, group, sendBuf, recvBuf, elements, type);
    };
  });
}

HcclResult HcclAllGatherV(void* sendBuf, uint64_t sendCount, void* recvBuf, const void* recvCounts,
                          const void* recvDispls, HcclDataType dataType, HcclComm comm,
                          aclrtStream stream) {
  return collective("HcclAllGatherV", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const std::int64_t elements = checks.count("sendCount", sendCount, type);
    const Numbers counts = checks.counts("recvCounts", recvCounts, checks.ranks(), type);
    const Numbers offsets = checks.offsets("recvDispls", recvDispls, type);
    checks.rule(HCCL_E_PARA, elements == of_rank(counts, checks),
                "sendCount differs from this rank's number in recvCounts");
    const Buffer send{"sendBuf", sendBuf, bytes_of(type, elements)};
    const Buffer recv{"recvBuf", recvBuf, extent(counts, offsets, type)};
    const bool in_place = begins(sendBuf, recvBuf, bytes_of(type, of_rank(offsets, checks)));
    checks.given(send).given(recv).apart(recv, send, in_place);
    return [=](Context& context, Group& group) {
      return weft::allgatherv(context, group, sendBuf, recvBuf, counts, offsets, type);
    };
  });
}

HcclResult HcclBroadcast(void* buf, uint64_t count, HcclDataType dataType, uint32_t root,
                         HcclComm comm, aclrtStream stream) {
  return collective("HcclBroadcast", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const int from = checks.rank("root", root);
    const std::int64_t elements = checks.count("count", count, type);
    checks.given({"buf", buf, bytes_of(type, elements)});
    return [=](Context& context, Group& group) {
      return weft::broadcast(context, group, buf, elements, type, from);
    };
  });
}

HcclResult HcclScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType,
                       uint32_t root, HcclComm comm, aclrtStream stream) {
  return collective("HcclScatter", comm, stream, [&](Checks& checks) -> Work {
    const DType type = checks.type("dataType", dataType);
    const int from = checks.rank("root", root);
    const std::int64_t elements = checks.count("recvCount", recvCount, type, checks.ranks());
    const std::int64_t bytes = bytes_of(type, elements);
    const Buffer send{"sendBuf", sendBuf, bytes * checks.ranks()}, recv{"recvBuf", recvBuf, bytes};
    if (checks.rank() == from) checks.given(send);
    checks.given(recv);
    if (checks.rank() == from)
      checks.apart(recv, send, is_part(recvBuf, sendBuf, bytes, checks.ranks()));
    return [=](Context& context, Group& group) {
      return weft::scatter(context, group, sendBuf, recvBuf, elements, type, from);
    };
  });
}

HcclResult HcclSend(void* sendBuf, uint64_t count, HcclDataType dataType, uint32_t destRank,
                    HcclComm comm, aclrtStream stream) {
  return collective("HcclSend", comm, stream, [&](Checks& checks) {
    return send_work(checks, sendBuf, count, dataType, destRank);
  });
}

HcclResult HcclRecv(void* recvBuf, uint64_t count, HcclDataType dataType, uint32_t srcRank,
                    HcclComm comm, aclrtStream stream) {
  return collective("HcclRecv", comm, stream, [&](Checks& checks) {
    return recv_work(checks, recvBuf, count, dataType, srcRank);
  });
}

HcclResult HcclBatchSendRecv(HcclSendRecvItem* sendRecvInfo, uint32_t itemNum, HcclComm comm,
                             aclrtStream stream) {
  return collective("HcclBatchSendRecv", comm, stream, [&](Checks& checks) -> Work {
    checks.rule(HCCL_E_PTR, sendRecvInfo || itemNum == 0, "sendRecvInfo is null");
    std::vector<Message> messages;
    for (uint32_t i = 0; i < itemNum && checks.ok(); ++i)
      messages.push_back(read_message(checks, sendRecvInfo[i]));
    check_apart(checks, messages);
    return [messages = std::move(messages)](Context& context, Group& group) {
      return weft::batch_send_recv(context, group, messages);
    };
  });
}

HcclResult HcclAlltoAll(const void* sendBuf, uint64_t sendCount, HcclDataType sendType,
                        const void* recvBuf, uint64_t recvCount, HcclDataType recvType,
                        HcclComm comm, aclrtStream stream) {
  return collective("HcclAlltoAll", comm, stream, [&](Checks& checks) -> Work {
    const DType type = common_type(checks, sendType, recvType);
    checks.rule(HCCL_E_PARA, sendCount == recvCount,
                "sendCount and recvCount differ but must be the same");
    const std::int64_t elements = checks.count("sendCount", sendCount, type, checks.ranks());
    const std::int64_t bytes = bytes_of(type, elements) * checks.ranks();
    const Buffer send{"sendBuf", sendBuf, bytes}, recv{"recvBuf", recvBuf, bytes};
    checks.given(send).given(recv).apart(recv, send, sendBuf == recvBuf);
    return [=, to = const_cast<void*>(recvBuf)](Context& context, Group& group) {
      return weft::alltoall(context, group, sendBuf, to, elements, type);
    };
  });
}

HcclResult HcclAlltoAllV(const void* sendBuf, const void* sendCounts, const void* sdispls,
                         HcclDataType sendType, const void* recvBuf, const void* recvCounts,
                         const void* rdispls, HcclDataType recvType, HcclComm comm,
                         aclrtStream stream) {
  return collective("HcclAlltoAllV", comm, stream, [&](Checks& checks) -> Work {
    const DType type = common_type(checks, sendType, recvType);
    const Numbers out = checks.counts("sendCounts", sendCounts, checks.ranks(), type);
    const Numbers from = checks.offsets("sdispls", sdispls, type);
    const Numbers in = checks.counts("recvCounts", recvCounts, checks.ranks(), type);
    const Numbers into = checks.offsets("rdispls", rdispls, type);
    const Buffer send{"sendBuf", sendBuf, extent(out, from, type)};
    const Buffer recv{"recvBuf", recvBuf, extent(in, into, type)};
    checks.given(send).given(recv).apart(recv, send);
    return [=, to = const_cast<void*>(recvBuf)](Context& context, Group& group) {
      return weft::alltoallv(context, group, sendBuf, to, AlltoallvParts{out, from, in, into},
                             type);
    };
  });
}

HcclResult HcclAlltoAllVC(const void* sendBuf, const void* sendCountMatrix, HcclDataType sendType,
                          const void* recvBuf, HcclDataType recvType, HcclComm comm,
                          aclrtStream stream) {
  return collective("HcclAlltoAllVC", comm, stream, [&](Checks& checks) -> Work {
    const DType type = common_type(checks, sendType, recvType);
    const std::int64_t ranks = checks.ranks(), rank = checks.rank();
    const Numbers counts = checks.counts("sendCountMatrix", sendCountMatrix, ranks * ranks, type);
    std::int64_t sent = 0, received = 0;
    for (std::int64_t peer = 0; peer < ranks && checks.ok(); ++peer) {
      sent += counts[static_cast<std::size_t>(rank * ranks + peer)];
      received += counts[static_cast<std::size_t>(peer * ranks + rank)];
    }
    const Buffer send{"sendBuf", sendBuf, bytes_of(type, sent)};
    const Buffer recv{"recvBuf", recvBuf, bytes_of(type, received)};
    checks.given(send).given(recv).apart(recv, send);
    return [=, to = const_cast<void*>(recvBuf)](Context& context, Group& group) {
      return weft::alltoallvc(context, group, sendBuf, to, counts, type);
    };
  });
}

HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
  return collective("HcclBarrier", comm, stream, [](Checks&) -> Work {
    return [](Context&, Group& group) { return group.barrier(); };
  });
}
