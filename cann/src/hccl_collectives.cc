// SPDX-License-Identifier: Apache-2.0
// hccl/hccl.h: collectives and messages as tasks of streams. Everything that a call points to, but
// the buffers, is copied: the program may free it when the call returns.
#include <cstddef>
#include <vector>

#include "hccl/hccl.h"
#include "hccl_call.h"
#include "hccl_checks.h"

using namespace weft::cann;
namespace ops = weft::ops;
using ops::CollectiveNames;
using weft::AlltoallvParts;
using weft::Context;
using weft::DType;
using weft::Group;
using weft::Message;
using weft::ReduceOp;

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
      Checks checks(communicator->group());
      Work work = describe(checks);
      return checks.ok() ? submit(communicator.get(), stream, std::move(work)) : checks.error();
    });
  });
}

/// The call of a function of weft/collectives.h, if its contract has nothing against these
/// arguments.
template <auto kCheck, auto kFunction, typename... Args>
Work checked(Checks& checks, const CollectiveNames& names, Args... args) {
  checks.contract<kCheck>(names, args...);
  return [... args = std::move(args)](Context& context, Group& group) {
    return kFunction(context, group, args...);
  };
}

/// For calls with one count.
constexpr CollectiveNames counted_by(std::string_view count) {
  return {.send = "sendBuf", .recv = "recvBuf", .buffer = "buf", .count = count};
}

/// What a rank sends and gets must be of one type.
DType common_type(Checks& checks, const HcclDataType& send, const HcclDataType& recv) {
  const DType type = checks.type("sendType", send);
  checks.type("recvType", recv);
  checks.rule(HCCL_E_PARA, number_of(send) == number_of(recv),
              "sendType and recvType differ but must be the same");
  return type;
}

/// The count that HCCL wants beside those of all ranks is this rank's of them.
void check_own(Checks& checks, std::uint64_t count, const Numbers& counts, std::string_view what) {
  if (counts.empty()) return;  // null
  const std::int64_t own = counts[static_cast<std::size_t>(checks.rank())];
  checks.rule(HCCL_E_PARA, count == static_cast<std::uint64_t>(own), what);
}

Message read_message(Checks& checks, const HcclSendRecvItem& item) {
  const int kind = number_of(item.sendRecvType);
  checks.rule(HCCL_E_PARA, kind == HCCL_SEND || kind == HCCL_RECV,
              fmt::format("sendRecvType of an item is {} but must be 0 or 1", kind));
  return {.kind = kind == HCCL_SEND ? Message::Kind::kSend : Message::Kind::kRecv,
          .data = item.buf,
          .count = static_cast<std::int64_t>(item.count),
          .dtype = checks.type("dataType of an item", item.dataType),
          .peer = static_cast<int>(item.remoteRank)};
}

/// The four arrays of an alltoallv.
struct CopiedParts {
  Numbers send_counts, send_offsets, recv_counts, recv_offsets;
  operator AlltoallvParts() const { return {send_counts, send_offsets, recv_counts, recv_offsets}; }
};

}  // namespace

HcclResult HcclAllReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType,
                         HcclReduceOp op, HcclComm comm, aclrtStream stream) {
  return collective("HcclAllReduce", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    return checked<ops::check_allreduce, weft::allreduce>(checks, counted_by("count"), sendBuf,
                                                          recvBuf, count, type, operation);
  });
}

HcclResult HcclReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType,
                      HcclReduceOp op, uint32_t root, HcclComm comm, aclrtStream stream) {
  return collective("HcclReduce", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    return checked<ops::check_reduce, weft::reduce>(checks, counted_by("count"), sendBuf, recvBuf,
                                                    count, type, operation, root);
  });
}

HcclResult HcclReduceScatter(void* sendBuf, void* recvBuf, uint64_t recvCount,
                             HcclDataType dataType, HcclReduceOp op, HcclComm comm,
                             aclrtStream stream) {
  return collective("HcclReduceScatter", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    return checked<ops::check_reduce_scatter, weft::reduce_scatter>(
        checks, counted_by("recvCount"), sendBuf, recvBuf, recvCount, type, operation);
  });
}

HcclResult HcclReduceScatterV(void* sendBuf, const void* sendCounts, const void* sendDispls,
                              void* recvBuf, uint64_t recvCount, HcclDataType dataType,
                              HcclReduceOp op, HcclComm comm, aclrtStream stream) {
  return collective("HcclReduceScatterV", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    const ReduceOp operation = checks.op(op);
    const CollectiveNames names{
        .send = "sendBuf", .recv = "recvBuf", .counts = "sendCounts", .offsets = "sendDispls"};
    const Numbers counts = checks.copy(names.counts, sendCounts, checks.ranks());
    const Numbers offsets = checks.copy(names.offsets, sendDispls, checks.ranks());
    check_own(checks, recvCount, counts, "recvCount differs from this rank's number in sendCounts");
    return checked<ops::check_reduce_scatterv, weft::reduce_scatterv>(
        checks, names, sendBuf, counts, offsets, recvBuf, type, operation);
  });
}

HcclResult HcclAllGather(void* sendBuf, void* recvBuf, uint64_t sendCount, HcclDataType dataType,
                         HcclComm comm, aclrtStream stream) {
  return collective("HcclAllGather", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    return checked<ops::check_allgather, weft::allgather>(checks, counted_by("sendCount"), sendBuf,
                                                          recvBuf, sendCount, type);
  });
}

HcclResult HcclAllGatherV(void* sendBuf, uint64_t sendCount, void* recvBuf, const void* recvCounts,
                          const void* recvDispls, HcclDataType dataType, HcclComm comm,
                          aclrtStream stream) {
  return collective("HcclAllGatherV", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    const CollectiveNames names{
        .send = "sendBuf", .recv = "recvBuf", .counts = "recvCounts", .offsets = "recvDispls"};
    const Numbers counts = checks.copy(names.counts, recvCounts, checks.ranks());
    const Numbers offsets = checks.copy(names.offsets, recvDispls, checks.ranks());
    check_own(checks, sendCount, counts, "sendCount differs from this rank's number in recvCounts");
    return checked<ops::check_allgatherv, weft::allgatherv>(checks, names, sendBuf, recvBuf, counts,
                                                            offsets, type);
  });
}

HcclResult HcclBroadcast(void* buf, uint64_t count, HcclDataType dataType, uint32_t root,
                         HcclComm comm, aclrtStream stream) {
  return collective("HcclBroadcast", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    return checked<ops::check_broadcast, weft::broadcast>(checks, counted_by("count"), buf, count,
                                                          type, root);
  });
}

HcclResult HcclScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType,
                       uint32_t root, HcclComm comm, aclrtStream stream) {
  return collective("HcclScatter", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    return checked<ops::check_scatter, weft::scatter>(checks, counted_by("recvCount"), sendBuf,
                                                      recvBuf, recvCount, type, root);
  });
}

HcclResult HcclSend(void* sendBuf, uint64_t count, HcclDataType dataType, uint32_t destRank,
                    HcclComm comm, aclrtStream stream) {
  return collective("HcclSend", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    return checked<ops::check_message, weft::send>(
        checks, {.data = "sendBuf", .peer = "destRank", .batch = "HcclBatchSendRecv"}, sendBuf,
        count, type, destRank);
  });
}

HcclResult HcclRecv(void* recvBuf, uint64_t count, HcclDataType dataType, uint32_t srcRank,
                    HcclComm comm, aclrtStream stream) {
  return collective("HcclRecv", comm, stream, [&](Checks& checks) {
    const DType type = checks.type("dataType", dataType);
    return checked<ops::check_message, weft::recv>(
        checks, {.data = "recvBuf", .peer = "srcRank", .batch = "HcclBatchSendRecv"}, recvBuf,
        count, type, srcRank);
  });
}

HcclResult HcclBatchSendRecv(HcclSendRecvItem* sendRecvInfo, uint32_t itemNum, HcclComm comm,
                             aclrtStream stream) {
  return collective("HcclBatchSendRecv", comm, stream, [&](Checks& checks) {
    checks.rule(HCCL_E_PTR, sendRecvInfo || itemNum == 0, "sendRecvInfo is null");
    std::vector<Message> messages;
    for (uint32_t i = 0; i < itemNum && checks.ok(); ++i)
      messages.push_back(read_message(checks, sendRecvInfo[i]));
    return checked<ops::check_batch_send_recv, weft::batch_send_recv>(
        checks,
        {.data = "buf of an item",
         .count = "count of an item",
         .peer = "remoteRank of an item",
         .received = "buf of a HCCL_RECV item",
         .other = "that of another"},
        std::move(messages));
  });
}

HcclResult HcclAlltoAll(const void* sendBuf, uint64_t sendCount, HcclDataType sendType,
                        const void* recvBuf, uint64_t recvCount, HcclDataType recvType,
                        HcclComm comm, aclrtStream stream) {
  return collective("HcclAlltoAll", comm, stream, [&](Checks& checks) {
    const DType type = common_type(checks, sendType, recvType);
    checks.rule(HCCL_E_PARA, sendCount == recvCount,
                "sendCount and recvCount differ but must be the same");
    return checked<ops::check_alltoall, weft::alltoall>(
        checks, counted_by("sendCount"), sendBuf, const_cast<void*>(recvBuf), sendCount, type);
  });
}

HcclResult HcclAlltoAllV(const void* sendBuf, const void* sendCounts, const void* sdispls,
                         HcclDataType sendType, const void* recvBuf, const void* recvCounts,
                         const void* rdispls, HcclDataType recvType, HcclComm comm,
                         aclrtStream stream) {
  return collective("HcclAlltoAllV", comm, stream, [&](Checks& checks) {
    const DType type = common_type(checks, sendType, recvType);
    const CollectiveNames names{.send = "sendBuf",
                                .recv = "recvBuf",
                                .send_counts = "sendCounts",
                                .send_offsets = "sdispls",
                                .recv_counts = "recvCounts",
                                .recv_offsets = "rdispls"};
    CopiedParts parts{checks.copy(names.send_counts, sendCounts, checks.ranks()),
                      checks.copy(names.send_offsets, sdispls, checks.ranks()),
                      checks.copy(names.recv_counts, recvCounts, checks.ranks()),
                      checks.copy(names.recv_offsets, rdispls, checks.ranks())};
    return checked<ops::check_alltoallv, weft::alltoallv>(
        checks, names, sendBuf, const_cast<void*>(recvBuf), std::move(parts), type);
  });
}

HcclResult HcclAlltoAllVC(const void* sendBuf, const void* sendCountMatrix, HcclDataType sendType,
                          const void* recvBuf, HcclDataType recvType, HcclComm comm,
                          aclrtStream stream) {
  return collective("HcclAlltoAllVC", comm, stream, [&](Checks& checks) {
    const DType type = common_type(checks, sendType, recvType);
    const CollectiveNames names{.send = "sendBuf", .recv = "recvBuf", .counts = "sendCountMatrix"};
    const Numbers counts =
        checks.copy(names.counts, sendCountMatrix, checks.ranks() * checks.ranks());
    return checked<ops::check_alltoallvc, weft::alltoallvc>(
        checks, names, sendBuf, const_cast<void*>(recvBuf), counts, type);
  });
}

HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
  return collective("HcclBarrier", comm, stream, [](Checks&) -> Work {
    return [](Context&, Group& group) { return group.barrier(); };
  });
}
