// SPDX-License-Identifier: Apache-2.0
#include "collective_job.h"

#include "random_bytes.h"
#include "weft/collectives.h"

namespace weft::bench {

CollectiveJob::CollectiveJob(Team& team, const std::string& what, DType dtype, std::int64_t bytes)
    : team_(team),
      what_(what),
      dtype_(dtype),
      count_(bytes / bytes_of(dtype, 1)),
      send_bytes_(what == "allgather" ? bytes / team.ranks() : bytes),
      recv_bytes_(what == "reduce_scatter" ? bytes / team.ranks() : bytes),
      send_(static_cast<size_t>(team.ranks())),
      recv_(static_cast<size_t>(team.ranks())) {
  team_.run([&](int rank) {
    for (auto* buffers : {&send_, &recv_}) {
      Buffer& buffer = (*buffers)[static_cast<size_t>(rank)];
      buffer = require(Buffer::allocate(bytes, "a collective"));
      fill_random(buffer.data(), bytes, dtype, static_cast<unsigned>(rank));
    }
  });
  steps(2);
}

double CollectiveJob::steps(int count) {
  return team_.run([&](int rank) {
    for (int i = 0; i < count; ++i) require(call(rank));
  }) / count;
}

Work CollectiveJob::work() const {
  return {.bytes = static_cast<double>(send_bytes_ + recv_bytes_),
          .ranks = team_.ranks(),
          .cores = team_.cores()};
}

Status CollectiveJob::call(int rank) {
  Context& context = team_.context(rank);
  Group& group = team_.group(rank);
  const void* const send = send_[static_cast<size_t>(rank)].data();
  void* const recv = recv_[static_cast<size_t>(rank)].data();
  const std::int64_t part = count_ / team_.ranks();
  if (what_ == "reduce_scatter") return reduce_scatter(context, group, send, recv, part, dtype_);
  if (what_ == "allgather") return allgather(context, group, send, recv, part, dtype_);
  if (what_ == "alltoall") return alltoall(context, group, send, recv, part, dtype_);
  return allreduce(context, group, send, recv, count_, dtype_);
}

}  // namespace weft::bench
