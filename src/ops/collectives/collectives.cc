// SPDX-License-Identifier: Apache-2.0
// The collectives of weft/collectives.h: what the ranks of each must agree on, and which parts of
// its buffers travel.
#include "weft/collectives.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ops/collectives/contract.h"
#include "ops/collectives/run.h"

namespace weft {
namespace {

using internal::CallHeader;
using internal::GroupState;
using ops::CollectiveRun;
using ops::Parts;
using ops::Reducer;

using Counts = std::span<const std::int64_t>;

CallHeader header_of(std::string_view op, DType dtype) {
  return CallHeader(op).add("dtype", to_string(dtype));
}

std::string text(Counts counts) { return fmt::format("[{}]", fmt::join(counts, ", ")); }

std::int64_t most(Counts counts) {
  std::int64_t most = 0;
  for (const std::int64_t count : counts) most = std::max(most, count);
  return most;
}

/// The call between its begin and its end.
template <typename Body>
Status run(Context& context, Group& group, const CallHeader& header, const Body& body) {
  GroupState& state = group.state();
  WEFT_RETURN_IF_ERROR(state.begin_call(header));
  CollectiveRun run(context.state(), state);
  WEFT_RETURN_IF_ERROR(body(run));
  state.end_call();
  return {};
}

std::span<const std::byte> bytes_at(const void* data, std::int64_t bytes) {
  return {static_cast<const std::byte*>(data), static_cast<std::size_t>(bytes)};
}

}  // namespace

Status allreduce(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
                 DType dtype, ReduceOp op) {
  WEFT_RETURN_IF_ERROR(ops::check_allreduce({group, "allreduce"}, send, recv, count, dtype, op));
  const std::int64_t bytes = bytes_of(dtype, count);
  const CallHeader header =
      header_of("allreduce", dtype).add("op", to_string(op)).add("count", count);
  const Reducer reducer(dtype, op, context.state().isa);
  return run(context, group, header,
             [&](CollectiveRun& run) { return run.allreduce(send, recv, bytes, reducer); });
}

Status reduce(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
              DType dtype, ReduceOp op, int root) {
  WEFT_RETURN_IF_ERROR(ops::check_reduce({group, "reduce"}, send, recv, count, dtype, op, root));
  const std::int64_t bytes = bytes_of(dtype, count);
  const CallHeader header =
      header_of("reduce", dtype).add("op", to_string(op)).add("count", count).add("root", root);
  const Reducer reducer(dtype, op, context.state().isa);
  const Parts in = group.rank() == root ? Parts::only(root, recv, bytes) : Parts::none();
  return run(context, group, header, [&](CollectiveRun& run) {
    return run.exchange(Parts::only(root, send, bytes), in, bytes, &reducer);
  });
}

Status reduce_scatter(Context& context, Group& group, const void* send, void* recv,
                      std::int64_t count, DType dtype, ReduceOp op) {
  WEFT_RETURN_IF_ERROR(
      ops::check_reduce_scatter({group, "reduce_scatter"}, send, recv, count, dtype, op));
  const std::int64_t bytes = bytes_of(dtype, count);
  const CallHeader header =
      header_of("reduce_scatter", dtype).add("op", to_string(op)).add("count", count);
  const Reducer reducer(dtype, op, context.state().isa);
  return run(context, group, header, [&](CollectiveRun& run) {
    return run.exchange(Parts::even(send, bytes), Parts::only(group.rank(), recv, bytes), bytes,
                        &reducer);
  });
}

Status reduce_scatterv(Context& context, Group& group, const void* send, Counts counts,
                       Counts offsets, void* recv, DType dtype, ReduceOp op) {
  WEFT_RETURN_IF_ERROR(ops::check_reduce_scatterv({group, "reduce_scatterv"}, send, counts, offsets,
                                                  recv, dtype, op));
  const std::int64_t bytes = bytes_of(dtype, counts[static_cast<std::size_t>(group.rank())]);
  const CallHeader header =
      header_of("reduce_scatterv", dtype).add("op", to_string(op)).add("counts", text(counts));
  const Reducer reducer(dtype, op, context.state().isa);
  const Parts out = Parts::counted(send, bytes_of(dtype, 1), counts.data(), offsets.data());
  return run(context, group, header, [&](CollectiveRun& run) {
    return run.exchange(out, Parts::only(group.rank(), recv, bytes), bytes_of(dtype, most(counts)),
                        &reducer);
  });
}

Status allgather(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
                 DType dtype) {
  WEFT_RETURN_IF_ERROR(ops::check_allgather({group, "allgather"}, send, recv, count, dtype));
  const std::int64_t bytes = bytes_of(dtype, count);
  return run(context, group, header_of("allgather", dtype).add("count", count),
             [&](CollectiveRun& run) {
               return run.gather(bytes_at(send, bytes), Parts::even(recv, bytes), bytes);
             });
}

Status allgatherv(Context& context, Group& group, const void* send, void* recv, Counts counts,
                  Counts offsets, DType dtype) {
  WEFT_RETURN_IF_ERROR(
      ops::check_allgatherv({group, "allgatherv"}, send, recv, counts, offsets, dtype));
  const std::int64_t bytes = bytes_of(dtype, counts[static_cast<std::size_t>(group.rank())]);
  const Parts in = Parts::counted(recv, bytes_of(dtype, 1), counts.data(), offsets.data());
  return run(context, group, header_of("allgatherv", dtype).add("counts", text(counts)),
             [&](CollectiveRun& run) {
               return run.gather(bytes_at(send, bytes), in, bytes_of(dtype, most(counts)));
             });
}

Status broadcast(Context& context, Group& group, void* buffer, std::int64_t count, DType dtype,
                 int root) {
  WEFT_RETURN_IF_ERROR(ops::check_broadcast({group, "broadcast"}, buffer, count, dtype, root));
  const std::int64_t bytes = bytes_of(dtype, count);
  std::span<const std::byte> own;
  if (group.rank() == root) own = bytes_at(buffer, bytes);
  return run(
      context, group, header_of("broadcast", dtype).add("count", count).add("root", root),
      [&](CollectiveRun& run) { return run.gather(own, Parts::only(root, buffer, bytes), bytes); });
}

Status scatter(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
               DType dtype, int root) {
  WEFT_RETURN_IF_ERROR(ops::check_scatter({group, "scatter"}, send, recv, count, dtype, root));
  const std::int64_t bytes = bytes_of(dtype, count);
  const Parts out = group.rank() == root ? Parts::even(send, bytes) : Parts::none();
  return run(context, group, header_of("scatter", dtype).add("count", count).add("root", root),
             [&](CollectiveRun& run) {
               return run.exchange(out, Parts::only(root, recv, bytes), bytes, nullptr);
             });
}

Status alltoall(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
                DType dtype) {
  WEFT_RETURN_IF_ERROR(ops::check_alltoall({group, "alltoall"}, send, recv, count, dtype));
  const std::int64_t bytes = bytes_of(dtype, count);
  return run(
      context, group, header_of("alltoall", dtype).add("count", count), [&](CollectiveRun& run) {
        return run.exchange(Parts::even(send, bytes), Parts::even(recv, bytes), bytes, nullptr);
      });
}

Status alltoallv(Context& context, Group& group, const void* send, void* recv,
                 const AlltoallvParts& parts, DType dtype) {
  constexpr std::string_view kOp = "alltoallv";
  WEFT_RETURN_IF_ERROR(ops::check_alltoallv({group, kOp}, send, recv, parts, dtype));
  WEFT_RETURN_IF_ERROR(group.health());  // a forked child must announce nothing
  const std::int64_t element = bytes_of(dtype, 1);
  const Parts out =
      Parts::counted(send, element, parts.send_counts.data(), parts.send_offsets.data());
  const Parts in =
      Parts::counted(recv, element, parts.recv_counts.data(), parts.recv_offsets.data());
  for (std::size_t peer = 0; peer < parts.send_counts.size(); ++peer)
    group.state().announce(static_cast<int>(peer),
                           {parts.send_counts[peer], parts.recv_counts[peer]});
  return run(context, group, header_of(kOp, dtype),
             [&](CollectiveRun& run) { return run.exchange_announced(out, in, element, kOp); });
}

Status alltoallvc(Context& context, Group& group, const void* send, void* recv, Counts counts,
                  DType dtype) {
  WEFT_RETURN_IF_ERROR(ops::check_alltoallvc({group, "alltoallvc"}, send, recv, counts, dtype));
  const std::int64_t ranks = group.ranks(), rank = group.rank();
  const std::int64_t* const row = counts.data() + rank * ranks;
  const std::int64_t* const column = counts.data() + rank;
  const std::int64_t element = bytes_of(dtype, 1);
  return run(context, group, header_of("alltoallvc", dtype).add("counts", text(counts)),
             [&](CollectiveRun& run) {
               return run.exchange(Parts::counted(send, element, row, nullptr),
                                   Parts::counted(recv, element, column, nullptr, ranks),
                                   bytes_of(dtype, most(counts)), nullptr);
             });
}

}  // namespace weft
