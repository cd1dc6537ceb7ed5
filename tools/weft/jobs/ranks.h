// SPDX-License-Identifier: Apache-2.0
// Starts the ranks of a job on this machine, as processes or as threads, and brings home what they
// return. Processes never outlive weft: not after Ctrl-C, not after a crash, not after kill -9.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "files/json.h"
#include "jobs/binding.h"
#include "weft/context.h"
#include "weft/group.h"
#include "weft/status.h"

namespace weft::tools {

enum class RankKind { kProcesses, kThreads };

struct LaunchOptions {
  int ranks = 1;
  RankKind kind = RankKind::kProcesses;
  Bind bind = Bind::kNone;
  ContextOptions context;  ///< local_ranks and local_rank are filled in
  GroupOptions group;
};

/// Of a rank that is bound to cpus[rank], unless cpus is empty. If neither the options nor
/// WEFT_THREADS name the threads, a bound rank has threads_of_rank().
ContextOptions context_options(const LaunchOptions& options, const CpusOfRanks& cpus, int rank);

/// What the body of a rank sees.
struct Rank {
  int rank, ranks;
  Context& context;
  Group& group;
  /// Says what this rank is doing now; shown when stderr is a terminal.
  std::function<void(std::string_view)> progress;
};

/// Runs on every rank; what it returns is brought home.
using RankBody = std::function<Result<Bytes>(Rank&)>;

/// Returns the values of all ranks in rank order, or one Status that says what happened first and
/// where. With processes, body runs in children of the calling thread, which must be the only one.
Result<std::vector<Bytes>> run_ranks(const LaunchOptions& options, const RankBody& body);

/// Starts `ranks` copies of a program with WEFT_RANK, WEFT_RANKS and WEFT_UNIQUE_ID set, and of
/// bound ranks WEFT_THREADS if it is not. Ok when all exit with 0.
Status run_program(int ranks, const std::vector<std::string>& command, Bind bind = Bind::kNone);

/// How a rank ended; the parts of the error that run_ranks and run_program return.
struct RankEnd {
  Status status;  ///< what its body returned, when `returned`
  bool returned = false;
  int wait_status = 0;        ///< of waitpid, when it ended without returning
  bool stopped_late = false;  ///< it had to be killed because it did not end
};
/// Ok, or one error for the whole job: a rank that died or was refused comes before those that only
/// lost a peer because of it.
Status combine(const std::vector<RankEnd>& ends);

}  // namespace weft::tools
