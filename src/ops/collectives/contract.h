// SPDX-License-Identifier: Apache-2.0
// What a rank can get wrong by itself in a collective: the rules of rules.inc, for each of the
// functions of weft/collectives.h and for whoever calls them under other names.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "weft/collectives.h"

namespace weft::ops {

/// What messages call the arguments: as weft/collectives.h does, unless a front end says otherwise.
struct CollectiveNames {
  std::string_view send = "send", recv = "recv", buffer = "buffer", data = "data";
  std::string_view count = "count", root = "root", peer = "peer";
  std::string_view counts = "counts", offsets = "offsets";
  std::string_view send_counts = "send_counts", send_offsets = "send_offsets";
  std::string_view recv_counts = "recv_counts", recv_offsets = "recv_offsets";
  std::string_view received = "data of a kRecv", other = "data of another message";
  std::string_view batch = "batch_send_recv";
};
inline constexpr CollectiveNames kCollectiveNames{};

/// Who has to read the messages.
struct Caller {
  const Group& group;
  std::string_view op;  ///< what they begin with; empty if the front end sees to that
  const CollectiveNames& names = kCollectiveNames;
  bool unsigned_numbers = false;  ///< negative numbers are unsigned ones, and too large
};

// The first rule that the arguments of the function of that name break. Allocates nothing if none.

Status check_allreduce(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                       DType dtype, ReduceOp op);
Status check_reduce(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                    DType dtype, ReduceOp op, int root);
Status check_reduce_scatter(const Caller& caller, const void* send, const void* recv,
                            std::int64_t count, DType dtype, ReduceOp op);
Status check_reduce_scatterv(const Caller& caller, const void* send,
                             std::span<const std::int64_t> counts,
                             std::span<const std::int64_t> offsets, const void* recv, DType dtype,
                             ReduceOp op);
Status check_allgather(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                       DType dtype);
Status check_allgatherv(const Caller& caller, const void* send, const void* recv,
                        std::span<const std::int64_t> counts, std::span<const std::int64_t> offsets,
                        DType dtype);
Status check_broadcast(const Caller& caller, const void* buffer, std::int64_t count, DType dtype,
                       int root);
Status check_scatter(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                     DType dtype, int root);
Status check_alltoall(const Caller& caller, const void* send, const void* recv, std::int64_t count,
                      DType dtype);
Status check_alltoallv(const Caller& caller, const void* send, const void* recv,
                       const AlltoallvParts& parts, DType dtype);
Status check_alltoallvc(const Caller& caller, const void* send, const void* recv,
                        std::span<const std::int64_t> counts, DType dtype);
/// send and recv.
Status check_message(const Caller& caller, const void* data, std::int64_t count, DType dtype,
                     int peer);
Status check_batch_send_recv(const Caller& caller, std::span<const Message> messages);

}  // namespace weft::ops
