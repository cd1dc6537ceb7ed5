// SPDX-License-Identifier: Apache-2.0
// Ranks that stay: one pinned thread each, called together again and again.
#pragma once

#include <barrier>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "operators/args.h"
#include "unfused/unfused.h"
#include "weft/context.h"
#include "weft/group.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace weft::bench {

class Team {
 public:
  /// Ends the program with a message if the machine refuses (a benchmark has nobody to return a
  /// Status to).
  Team(int ranks, int threads_per_rank);
  ~Team();

  int ranks() const { return static_cast<int>(threads_.size()); }
  /// Only inside run().
  Context& context(int rank) { return *contexts_[static_cast<size_t>(rank)]; }
  Group& group(int rank) { return groups_[static_cast<size_t>(rank)]; }

  /// Calls body(rank) on every rank's thread at once. Seconds from the common start to the last
  /// end.
  double run(const std::function<void(int)>& body);

 private:
  void serve(int rank, int threads_per_rank);

  std::vector<Group> groups_;
  std::vector<std::unique_ptr<Context>> contexts_;
  std::vector<std::int64_t> begin_ns_, end_ns_;
  std::barrier<> barrier_;
  const std::function<void(int)>* body_ = nullptr;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

/// Ends the program with the message of an error.
void require(const Status& status);
template <typename T>
T require(Result<T> result) {
  require(result.ok() ? Status() : result.status());
  return std::move(result).value();
}

/// One problem on a team: operands, the fused operator and the separate passes, planned and warmed
/// up.
class Job {
 public:
  struct Options {
    bool unfused = false;  ///< plan the separate passes too (they also give the gemm alone)
    bool fused = true;
    /// Weights that the fused calls take turns with. A decode step meets each layer's weight once
    /// and then hundreds of MiB of others, so it finds its weight in memory, not in a cache.
    int weights = 1;
  };
  Job(Team& team, const tools::OperandSource& source, Options options);

  double fused();
  /// Calls that follow each other at once, as decode steps do, each with the next weight: seconds
  /// of one.
  double fused_steps(int count);
  double unfused();
  double gemm();             ///< all ranks at once, the first of the separate passes
  double gemm_of(int rank);  ///< one rank, the others idle
  double read_weight();      ///< every rank reads its weights once: seconds for one of them
  double flops_per_rank() const { return flops_; }

 private:
  struct RankJob {
    tools::Operands operands;
    Buffer weights;  ///< one after the other
    std::unique_ptr<MatmulAllReduceAddRmsNorm> fused;
    std::unique_ptr<Unfused> unfused;
  };
  void prepare(int rank, const tools::OperandSource& source, Options options);

  MatmulAllReduceAddRmsNormArgs args_of(int rank, int weight) const;

  Team& team_;
  Options options_;
  std::vector<RankJob> ranks_;
  double flops_ = 0;
};

}  // namespace weft::bench
