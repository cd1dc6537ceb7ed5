// SPDX-License-Identifier: Apache-2.0
// One collective of a team, with buffers that are used again and again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/memory.h"
#include "team.h"
#include "weft/dtype.h"

namespace weft::bench {

class CollectiveJob {
 public:
  /// `what`: "allreduce", "reduce_scatter", "allgather" or "alltoall"; `bytes` are those of the
  /// larger of a rank's buffers.
  CollectiveJob(Team& team, const std::string& what, DType dtype, std::int64_t bytes);

  /// Calls that follow each other at once: seconds of one.
  double steps(int count);
  /// Its bytes are those that a rank must read and write.
  Work work() const;

 private:
  Status call(int rank);

  Team& team_;
  const std::string what_;
  const DType dtype_;
  const std::int64_t count_;  ///< elements of the whole, which is split among ranks
  std::int64_t send_bytes_, recv_bytes_;
  std::vector<Buffer> send_, recv_;
};

}  // namespace weft::bench
