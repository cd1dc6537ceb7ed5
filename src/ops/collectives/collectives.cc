// SPDX-License-Identifier: Apache-2.0
// The collectives of weft/collectives.h: what each checks, what its ranks must agree on, and which
// parts of its buffers travel.
#include "weft/collectives.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ops/collectives/contract.h"
#include "ops/collectives/run.h"

namespace weft {
namespace {

using internal::CallHeader;
using internal::GroupState;
using ops::begins;
using ops::CollectiveContract;
using ops::CollectiveRun;
using ops::extent;
using ops::is_part;
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

std::int64_t sum(const std::int64_t* counts, std::int64_t n, std::int64_t step = 1) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += counts[i * step];
  return sum;
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
  CollectiveContract contract("allreduce", group, dtype);
  if (!contract.moves().reduces(op).count(count, 1).ok()) return contract.status();
  const std::int64_t bytes = bytes_of(dtype, count);
  contract.given({"send", send, bytes}).given({"recv", recv, bytes});
  if (send != recv) contract.apart({"recv", recv, bytes}, {"send", send, bytes});
  WEFT_RETURN_IF_ERROR(contract.status());
  const CallHeader header =
      header_of("allreduce", dtype).add("op", to_string(op)).add("count", count);
  const Reducer reducer(dtype, op, context.state().isa);
  return run(context, group, header,
             [&](CollectiveRun& run) { return run.allreduce(send, recv, bytes, reducer); });
}

Status reduce(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
              DType dtype, ReduceOp op, int root) {
  CollectiveContract contract("reduce", group, dtype);
  if (!contract.moves().reduces(op).count(count, 1).rank("root", root).ok())
    return contract.status();
  const std::int64_t bytes = bytes_of(dtype, count);
  contract.given({"send", send, bytes});
  if (group.rank() == root) {
    contract.given({"recv", recv, bytes});
    if (send != recv) contract.apart({"recv", recv, bytes}, {"send", send, bytes});
  }
  WEFT_RETURN_IF_ERROR(contract.status());
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
  CollectiveContract contract("reduce_scatter", group, dtype);
  const int ranks = group.ranks(), rank = group.rank();
  if (!contract.moves().reduces(op).count(count, ranks).ok()) return contract.status();
  const std::int64_t bytes = bytes_of(dtype, count);
  contract.given({"send", send, bytes * ranks}).given({"recv", recv, bytes});
  if (!is_part(recv, send, bytes, ranks))
    contract.apart({"recv", recv, bytes}, {"send", send, bytes * ranks});
  WEFT_RETURN_IF_ERROR(contract.status());
  const CallHeader header =
      header_of("reduce_scatter", dtype).add("op", to_string(op)).add("count", count);
  const Reducer reducer(dtype, op, context.state().isa);
  return run(context, group, header, [&](CollectiveRun& run) {
    return run.exchange(Parts::even(send, bytes), Parts::only(rank, recv, bytes), bytes, &reducer);
  });
}

Status reduce_scatterv(Context& context, Group& group, const void* send, Counts counts,
                       Counts offsets, void* recv, DType dtype, ReduceOp op) {
  CollectiveContract contract("reduce_scatterv", group, dtype);
  if (!contract.moves()
           .reduces(op)
           .counts("counts", counts, group.ranks())
           .offsets("offsets", offsets)
           .ok())
    return contract.status();
  const auto rank = static_cast<std::size_t>(group.rank());
  const std::int64_t bytes = bytes_of(dtype, counts[rank]);
  const std::int64_t all = extent(counts, offsets, dtype);
  contract.given({"send", send, all}).given({"recv", recv, bytes});
  if (!begins(recv, send, bytes_of(dtype, offsets[rank])))
    contract.apart({"recv", recv, bytes}, {"send", send, all});
  WEFT_RETURN_IF_ERROR(contract.status());
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
  CollectiveContract contract("allgather", group, dtype);
  if (!contract.moves().count(count, group.ranks()).ok()) return contract.status();
  const std::int64_t bytes = bytes_of(dtype, count), all = bytes * group.ranks();
  contract.given({"send", send, bytes}).given({"recv", recv, all});
  if (!begins(send, recv, group.rank() * bytes))
    contract.apart({"recv", recv, all}, {"send", send, bytes});
  WEFT_RETURN_IF_ERROR(contract.status());
  return run(context, group, header_of("allgather", dtype).add("count", count),
             [&](CollectiveRun& run) {
               return run.gather(bytes_at(send, bytes), Parts::even(recv, bytes), bytes);
             });
}

Status allgatherv(Context& context, Group& group, const void* send, void* recv, Counts counts,
                  Counts offsets, DType dtype) {
  CollectiveContract contract("allgatherv", group, dtype);
  if (!contract.moves().counts("counts", counts, group.ranks()).offsets("offsets", offsets).ok())
    return contract.status();
  const auto rank = static_cast<std::size_t>(group.rank());
  const std::int64_t bytes = bytes_of(dtype, counts[rank]);
  const std::int64_t all = extent(counts, offsets, dtype);
  contract.given({"send", send, bytes}).given({"recv", recv, all});
  if (!begins(send, recv, bytes_of(dtype, offsets[rank])))
    contract.apart({"recv", recv, all}, {"send", send, bytes});
  WEFT_RETURN_IF_ERROR(contract.status());
  const Parts in = Parts::counted(recv, bytes_of(dtype, 1), counts.data(), offsets.data());
  return run(context, group, header_of("allgatherv", dtype).add("counts", text(counts)),
             [&](CollectiveRun& run) {
               return run.gather(bytes_at(send, bytes), in, bytes_of(dtype, most(counts)));
             });
}

Status broadcast(Context& context, Group& group, void* buffer, std::int64_t count, DType dtype,
                 int root) {
  CollectiveContract contract("broadcast", group, dtype);
  if (!contract.moves().count(count, 1).rank("root", root).ok()) return contract.status();
  const std::int64_t bytes = bytes_of(dtype, count);
  WEFT_RETURN_IF_ERROR(contract.given({"buffer", buffer, bytes}).status());
  std::span<const std::byte> own;
  if (group.rank() == root) own = bytes_at(buffer, bytes);
  return run(
      context, group, header_of("broadcast", dtype).add("count", count).add("root", root),
      [&](CollectiveRun& run) { return run.gather(own, Parts::only(root, buffer, bytes), bytes); });
}

Status scatter(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
               DType dtype, int root) {
  CollectiveContract contract("scatter", group, dtype);
  const int ranks = group.ranks();
  if (!contract.moves().count(count, ranks).rank("root", root).ok()) return contract.status();
  const std::int64_t bytes = bytes_of(dtype, count);
  contract.given({"recv", recv, bytes});
  const bool sends = group.rank() == root;
  if (sends) {
    contract.given({"send", send, bytes * ranks});
    if (!is_part(recv, send, bytes, ranks))
      contract.apart({"recv", recv, bytes}, {"send", send, bytes * ranks});
  }
  WEFT_RETURN_IF_ERROR(contract.status());
  const Parts out = sends ? Parts::even(send, bytes) : Parts::none();
  return run(context, group, header_of("scatter", dtype).add("count", count).add("root", root),
             [&](CollectiveRun& run) {
               return run.exchange(out, Parts::only(root, recv, bytes), bytes, nullptr);
             });
}

Status alltoall(Context& context, Group& group, const void* send, void* recv, std::int64_t count,
                DType dtype) {
  CollectiveContract contract("alltoall", group, dtype);
  if (!contract.moves().count(count, group.ranks()).ok()) return contract.status();
  const std::int64_t bytes = bytes_of(dtype, count), all = bytes * group.ranks();
  contract.given({"send", send, all}).given({"recv", recv, all});
  if (send != recv) contract.apart({"recv", recv, all}, {"send", send, all});
  WEFT_RETURN_IF_ERROR(contract.status());
  return run(
      context, group, header_of("alltoall", dtype).add("count", count), [&](CollectiveRun& run) {
        return run.exchange(Parts::even(send, bytes), Parts::even(recv, bytes), bytes, nullptr);
      });
}

Status alltoallv(Context& context, Group& group, const void* send, void* recv,
                 const AlltoallvParts& parts, DType dtype) {
  constexpr std::string_view kOp = "alltoallv";
  CollectiveContract contract(kOp, group, dtype);
  if (!contract.moves()
           .counts("send_counts", parts.send_counts, group.ranks())
           .offsets("send_offsets", parts.send_offsets)
           .counts("recv_counts", parts.recv_counts, group.ranks())
           .offsets("recv_offsets", parts.recv_offsets)
           .ok())
    return contract.status();
  const std::int64_t sent = extent(parts.send_counts, parts.send_offsets, dtype);
  const std::int64_t received = extent(parts.recv_counts, parts.recv_offsets, dtype);
  WEFT_RETURN_IF_ERROR(contract.given({"send", send, sent})
                           .given({"recv", recv, received})
                           .apart({"recv", recv, received}, {"send", send, sent})
                           .status());
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
  CollectiveContract contract("alltoallvc", group, dtype);
  const std::int64_t ranks = group.ranks(), rank = group.rank();
  if (!contract.moves().counts("counts", counts, ranks * ranks).ok()) return contract.status();
  const std::int64_t* const row = counts.data() + rank * ranks;
  const std::int64_t* const column = counts.data() + rank;
  const std::int64_t sent = bytes_of(dtype, sum(row, ranks));
  const std::int64_t received = bytes_of(dtype, sum(column, ranks, ranks));
  WEFT_RETURN_IF_ERROR(contract.given({"send", send, sent})
                           .given({"recv", recv, received})
                           .apart({"recv", recv, received}, {"send", send, sent})
                           .status());
  const std::int64_t element = bytes_of(dtype, 1);
  return run(context, group, header_of("alltoallvc", dtype).add("counts", text(counts)),
             [&](CollectiveRun& run) {
               return run.exchange(Parts::counted(send, element, row, nullptr),
                                   Parts::counted(recv, element, column, nullptr, ranks),
                                   bytes_of(dtype, most(counts)), nullptr);
             });
}

}  // namespace weft
