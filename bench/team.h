// SPDX-License-Identifier: Apache-2.0
// Ranks that stay: one pinned thread each, called together again and again.
#pragma once

#include <barrier>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "link.h"
#include "operators/args.h"
#include "operators/cases.h"
#include "operators/operator.h"
#include "report.h"
#include "unfused/unfused.h"
#include "weft/context.h"
#include "weft/group.h"
#include "weft/trace.h"

namespace weft::bench {

/// What carries the windows: memory of this process, or that which ranks of several processes
/// share.
enum class Windows { kPrivate, kShared };

class Team {
 public:
  /// Ends the program with a message if the machine refuses (a benchmark has nobody to return a
  /// Status to).
  Team(int ranks, int threads_per_rank, Windows windows = Windows::kPrivate);
  ~Team();

  int ranks() const { return static_cast<int>(threads_.size()); }
  int cores() const { return cores_; }  ///< that all ranks have together
  /// Only inside run().
  Context& context(int rank) { return *contexts_[static_cast<size_t>(rank)]; }
  Group& group(int rank) { return groups_[static_cast<size_t>(rank)]; }

  /// Calls body(rank) on every rank's thread at once. Seconds from the common start to the last
  /// end.
  double run(const std::function<void(int)>& body);

 private:
  void serve(int rank, int threads_per_rank);

  const int cores_;
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

/// One problem on a team: operands, an operator, and what it is compared with, planned and warmed
/// up.
class Job {
 public:
  struct Options {
    bool fused = true;
    bool gemm = false;      ///< the local product alone too
    bool unfused = false;   ///< matmul_allreduce_add_rmsnorm: the separate passes too
    bool exchange = false;  ///< what follows the products is timed apart
    /// Weights that the calls take turns with. A decode step meets each layer's weight once and
    /// then hundreds of MiB of others, so it finds its weight in memory, not in a cache.
    int weights = 1;
    bool nz = false;              ///< x2 is stored as FRACTAL_NZ
    double link_bytes_per_s = 0;  ///< of a slower link between the ranks; 0: memory
  };
  Job(Team& team, const tools::Case& c, Options options);

  double fused() { return fused_steps(1); }
  /// Calls that follow each other at once, as decode steps do, each with the next weight: seconds
  /// of one.
  double fused_steps(int count);
  double unfused();
  double gemm() { return gemm_steps(1); }  ///< all ranks at once
  double gemm_steps(int count);
  /// With options.exchange: of so many calls that follow each other, the median of the time from
  /// the end of the last rank's product to the end of the last rank's call.
  double exchange(int count);
  double gemm_of(int rank);  ///< one rank, the others idle
  double read_weight();      ///< every rank reads its weights once: seconds for one of them
  /// What int8 communication adds to the numbers of one call of a rank: its partials quantised, the
  /// tiles it owns requantised; from and to L2. The way back to float16 takes the place of a copy.
  double conversions();
  /// Of the operator, or of its product alone.
  Work work(bool product_alone) const;

 private:
  struct RankJob {
    tools::Operands operands;
    Buffer weights;  ///< one after the other
    std::unique_ptr<tools::PlannedCall> fused, traced;
    std::unique_ptr<Trace> trace;
    std::unique_ptr<LocalGemm> gemm;
    std::unique_ptr<Unfused> unfused;
  };
  void prepare(int rank, const tools::Case& c);
  RankJob& of(int rank) { return ranks_[static_cast<size_t>(rank)]; }
  /// Weight i becomes x2.
  void choose_weight(RankJob& job, int i) const;
  void store_product(int rank, bool as_int8);
  void requantise(int rank);
  static std::int64_t weight_bytes(const RankJob& job);

  Team& team_;
  const Options options_;
  std::unique_ptr<ThrottledLink> link_;
  std::vector<RankJob> ranks_;
  Work work_;
  double product_bytes_ = 0;  ///< of the product itself
};

}  // namespace weft::bench
