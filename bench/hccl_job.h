// SPDX-License-Identifier: Apache-2.0
// HCCL as programs use it: a process for each rank, C functions, a stream, a wait after each call.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "comm/unique_fd.h"
#include "weft/dtype.h"

namespace weft::bench {

class HcclJob {
 public:
  /// Starts the processes: this program again, see serve_hccl_rank().
  explicit HcclJob(int ranks);
  ~HcclJob();
  HcclJob(const HcclJob&) = delete;
  HcclJob& operator=(const HcclJob&) = delete;

  /// HcclAllReduce + aclrtSynchronizeStream, `count` times, at most kMostBytes: seconds of one.
  double allreduce(DType dtype, std::int64_t bytes, int count);
  /// The same of a task that does nothing: what a stream costs.
  double hand_off(int count);

  static constexpr std::int64_t kMostBytes = 64 << 20;

  struct Command;  ///< what the processes are told

 private:
  double run(const Command& command);
  struct Rank {
    pid_t process;
    internal::UniqueFd channel;
  };
  std::vector<Rank> ranks_;
};

/// The argument that makes this program a rank of an HcclJob.
inline constexpr const char* kHcclRank = "--hccl-rank";
/// argv: program, kHcclRank, rank, ranks, file descriptor. Returns when the job has ended.
int serve_hccl_rank(char** argv);

}  // namespace weft::bench
