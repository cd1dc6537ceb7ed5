// SPDX-License-Identifier: Apache-2.0
// Child processes of weft, one per rank: started together, watched through pipes, ended together.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "jobs/interrupt.h"
#include "jobs/ranks.h"
#include "terminal/progress.h"

namespace weft::tools {

/// The write end of the pipe a rank reports through. Messages are CBOR with their length in front.
class Report {
 public:
  Report(int fd, bool with_progress) : fd_(fd), with_progress_(with_progress) {}
  /// A rank that takes a step every few microseconds must not keep its parent, and with it a core,
  /// busy with telling: after the first steps at most one message in a tenth of a second.
  void progress(std::string_view text);
  void result(const Status& status, const Bytes& value) const;

 private:
  void send(const Bytes& message) const;
  int fd_;
  bool with_progress_;
  int steps_ = 0;
  std::int64_t told_ns_ = 0;
};

class Children {
 public:
  struct Options {
    /// Programs get a process group of their own, so that what they start ends with them, and
    /// SIGTERM before SIGKILL; our own ranks have nothing to clean up and get SIGKILL.
    bool programs = false;
  };
  Children(int ranks, Options options);
  ~Children();  ///< ends what still runs

  /// Forks all; `body` runs in each child and its return is the exit code.
  Status start(const std::function<int(int rank, Report&)>& body);
  /// Returns when all have ended. After the first failure the others get a few seconds to notice.
  /// On an interrupt: ends all children, then this process with 130.
  void wait();

  const std::vector<RankEnd>& ends() const { return ends_; }
  std::vector<Bytes> take_values() { return std::move(values_); }

 private:
  struct Child {
    pid_t pid = -1;  ///< -1: not started, or ended
    int fd = -1;
    Bytes received;
  };
  void run_child(int rank, int fd, pid_t parent, const std::function<int(int, Report&)>& body);
  void read_pipe(int rank);
  void take_messages(int rank);
  void reap();
  void kill_all(int signal);
  int running() const;
  void poll_once(int timeout_ms);
  bool failed() const;

  Options options_;
  SignalWatch signals_;
  Progress progress_;
  std::vector<Child> children_;
  std::vector<RankEnd> ends_;
  std::vector<Bytes> values_;
};

}  // namespace weft::tools
