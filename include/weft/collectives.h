// SPDX-License-Identifier: Apache-2.0
// Collectives and messages: what PyTorch, MPI and HCCL programs know under these names, over the
// windows of a Group.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "weft/context.h"
#include "weft/dtype.h"
#include "weft/export.h"
#include "weft/group.h"
#include "weft/status.h"

namespace weft {

/// Elements are combined in the order of the ranks, so every rank gets the same bits, from run to
/// run, for every thread count, window size and transport. float16 and bfloat16 are combined in
/// fp32 and rounded once at the end; the other types in their own arithmetic: integers wrap. kMax
/// and kMin of floats: a nan gives a nan. kAvg, of floats alone, multiplies the sum with 1 / ranks
/// before that one rounding, float32 and float64 in their own arithmetic. kBand, kBor and kBxor are
/// bitwise, of integers alone.
enum class ReduceOp : std::uint8_t { kSum, kProd, kMax, kMin, kAvg, kBand, kBor, kBxor };

/// "sum", "prod", "max", "min", "avg", "band", "bor", "bxor".
WEFT_API std::string_view to_string(ReduceOp op);

// For all functions of this header:
//
// count, counts    elements, 0 or more; offsets: elements from the start of the buffer
// dtype            any type of whole bytes; to reduce: any but bool that has the operation
// root, peer       0 to ranks - 1
// buffers          dense. They overlap only where a function says so. When a call returns on a
//                  rank, no other rank needs that rank's buffers, nor the rank itself, any more:
//                  it may free them, or leave the group, while others are still in the call.
//
// Collective: every rank of the group makes the same calls in the same order, operators included.
// Errors: kInvalidArgument (this rank's arguments, found before anything is sent), kMismatch (the
// ranks disagree about the call; every rank gets the same text), kTimeout, kPeerLost. After an
// error but the first, the group is unusable and outputs are undefined.

/// recv[i] = op over ranks r, in rank order, of send_r[i], i < count, on every rank. recv may be
/// send.
WEFT_API Status allreduce(Context& context, Group& group, const void* send, void* recv,
                          std::int64_t count, DType dtype, ReduceOp op = ReduceOp::kSum);

/// allreduce whose result only `root` gets; recv is not used on the other ranks.
WEFT_API Status reduce(Context& context, Group& group, const void* send, void* recv,
                       std::int64_t count, DType dtype, ReduceOp op, int root);

/// send holds one part of `count` elements for each rank. Rank q gets the op over ranks r, in rank
/// order, of send_r's part q. recv may be a part of send.
WEFT_API Status reduce_scatter(Context& context, Group& group, const void* send, void* recv,
                               std::int64_t count, DType dtype, ReduceOp op = ReduceOp::kSum);

/// reduce_scatter with parts of counts[q] elements at offsets[q] of send. counts are the same on
/// every rank; offsets are this rank's own. recv overlaps nothing, or is send's part of this rank.
WEFT_API Status reduce_scatterv(Context& context, Group& group, const void* send,
                                std::span<const std::int64_t> counts,
                                std::span<const std::int64_t> offsets, void* recv, DType dtype,
                                ReduceOp op = ReduceOp::kSum);

/// Part q of recv, `count` elements, is send of rank q, on every rank. send may be this rank's part
/// of recv.
WEFT_API Status allgather(Context& context, Group& group, const void* send, void* recv,
                          std::int64_t count, DType dtype);

/// allgather with parts of counts[q] elements at offsets[q] of recv; send has counts[rank]. counts
/// are the same on every rank; offsets are this rank's own.
WEFT_API Status allgatherv(Context& context, Group& group, const void* send, void* recv,
                           std::span<const std::int64_t> counts,
                           std::span<const std::int64_t> offsets, DType dtype);

/// buffer becomes that of `root` on every rank.
WEFT_API Status broadcast(Context& context, Group& group, void* buffer, std::int64_t count,
                          DType dtype, int root);

/// Rank q gets part q, `count` elements, of send of `root`; send is not used on the other ranks.
/// recv may be a part of send.
WEFT_API Status scatter(Context& context, Group& group, const void* send, void* recv,
                        std::int64_t count, DType dtype, int root);

/// Part r of recv, `count` elements, is part q of send of rank r, on rank q. recv may be send.
WEFT_API Status alltoall(Context& context, Group& group, const void* send, void* recv,
                         std::int64_t count, DType dtype);

/// What a rank exchanges with each rank in alltoallv; all four have one element for each.
struct AlltoallvParts {
  std::span<const std::int64_t> send_counts, send_offsets;
  std::span<const std::int64_t> recv_counts, recv_offsets;
};

/// alltoall with parts of any length. What rank r sends to q must be what q expects from r.
WEFT_API Status alltoallv(Context& context, Group& group, const void* send, void* recv,
                          const AlltoallvParts& parts, DType dtype);

/// alltoallv by a matrix that is the same on every rank: rank r sends counts[r · ranks + q]
/// elements to rank q. Parts lie one after the other, in rank order, in send and in recv.
WEFT_API Status alltoallvc(Context& context, Group& group, const void* send, void* recv,
                           std::span<const std::int64_t> counts, DType dtype);

/// Message of one rank to another. Only the two take part: `send` here and `recv` there, with the
/// same count and dtype. Messages between two ranks arrive in the order in which they were sent.
/// Returns when the receiver has taken all of it, so two ranks that both send first wait for each
/// other until the deadline; batch_send_recv is for that. Errors: those above.
WEFT_API Status send(Context& context, Group& group, const void* data, std::int64_t count,
                     DType dtype, int peer);
WEFT_API Status recv(Context& context, Group& group, void* data, std::int64_t count, DType dtype,
                     int peer);

struct Message {
  enum class Kind : std::uint8_t { kSend, kRecv };
  Kind kind;
  void* data;  ///< only read by kSend
  std::int64_t count;
  DType dtype;
  int peer;  ///< may be this rank itself
};

/// All messages at the same time, in any order; those of one kind with one peer in the order given.
/// Buffers of kRecv overlap no other.
WEFT_API Status batch_send_recv(Context& context, Group& group, std::span<const Message> messages);

}  // namespace weft
