// SPDX-License-Identifier: Apache-2.0
// Ranks as forked processes, for tests: each runs a function, can talk to the test meanwhile, and
// hands back a text. Fork before the test has threads running; use a fresh one per test.
//
//   auto outcomes = run_ranks(4, [](Rank& rank) {
//     auto group = Group::join(rank.id, rank.rank, rank.ranks);
//     …
//     return status.to_string();
//   });
//
// EXPECT failures inside a rank print as usual and make its outcome not clean().
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/unique_fd.h"
#include "weft/group.h"

namespace weft::testing {

/// What a rank's function sees.
class Rank {
 public:
  UniqueId id;
  int rank = 0, ranks = 0;
  /// Says something to the test: see Processes::await.
  void tell(const std::string& text) const;
  /// Blocks until the test calls Processes::go for this rank.
  void await_go() const;

 private:
  friend class Processes;
  int socket_ = -1;
};

using RankFunction = std::function<std::string(Rank&)>;

struct Outcome {
  bool finished = false;         ///< the function returned
  std::string text;              ///< what it returned
  std::int64_t finished_ns = 0;  ///< CLOCK_MONOTONIC when it returned
  int exit_code = -1;            ///< 0: no EXPECT failed in it
  int signal = 0;                ///< that ended it, 0: none
  bool clean() const { return finished && exit_code == 0; }
};

std::int64_t monotonic_ns();

class Processes {
 public:
  /// Forks the ranks; all get the same new UniqueId.
  Processes(int ranks, const RankFunction& function);
  /// Kills and reaps what is left.
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  const UniqueId& id() const { return id_; }
  pid_t pid(int rank) const { return at(rank).pid; }
  /// Sends a signal; returns when that was (CLOCK_MONOTONIC).
  std::int64_t kill(int rank, int signal = SIGKILL);
  /// Waits until the rank has told this text. False, and a test failure, after timeout_s or its
  /// end.
  bool await(int rank, const std::string& text, double timeout_s = 20);
  void go(int rank);
  /// Waits for a rank's end; kills it after timeout_s.
  Outcome finish(int rank, double timeout_s = 30);
  /// finish() for all ranks, element i is rank i. The timeout is for all together.
  std::vector<Outcome> finish_all(double timeout_s = 30);

 private:
  struct Child {
    pid_t pid = -1;
    internal::UniqueFd socket;
    std::vector<std::string> told;
    Outcome outcome;
    bool closed = false;
  };
  Child& at(int rank) { return children_[static_cast<std::size_t>(rank)]; }
  const Child& at(int rank) const { return children_[static_cast<std::size_t>(rank)]; }
  [[noreturn]] void run_child(int rank, int ranks, int socket, const RankFunction& function);
  /// Takes one message; false at the deadline or the end.
  bool receive(Child& child, std::int64_t deadline_ns);
  void reap(Child& child);

  UniqueId id_;
  std::vector<Child> children_;
};

/// Forks, waits for all, and expects all to be clean.
std::vector<Outcome> run_ranks(int ranks, const RankFunction& function, double timeout_s = 60);

/// Waits for every rank but `victim` and expects that it ended within `limit_ns` of `since_ns`, all
/// with the same text, which it returns.
std::string expect_same_end(Processes& processes, int ranks, int victim, std::int64_t since_ns,
                            std::int64_t limit_ns);

}  // namespace weft::testing
