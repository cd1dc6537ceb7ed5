// SPDX-License-Identifier: Apache-2.0
// Communicator: one rank of a group as a Python program holds it. Its calls run one at a time, in
// the order in which they were made, whatever threads they come from: all ranks must make the same
// calls in the same order, and a Group serves one at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "weft/context.h"
#include "weft/group.h"

namespace weft::python {

class Communicator {
 public:
  using Call = std::function<Status(Context&, Group&)>;
  using Done = std::function<void(const Status&)>;

  /// Registers it by its key. Error: kInvalidArgument if the process has one of that key.
  static Result<std::shared_ptr<Communicator>> create(Context context, Group group);
  /// The one of that key, or null.
  static std::shared_ptr<Communicator> find(std::string_view key);
  /// Closes it.
  ~Communicator();

  /// Makes the call on this thread once those before it are done, and returns what it returns. A
  /// signal whose handler raises aborts the group while this thread waits for its turn; within the
  /// call that is up to GroupOptions::interrupted (interrupt.h).
  Status run(const Call& call);
  /// Makes the call later, on the communicator's own thread, then done() with its status. Returns
  /// its number, for help().
  std::uint64_t submit(Call call, Done done);
  /// Makes submitted calls on this thread as long as their turn is now, up to that one: a thread
  /// that waits for them is awake already, which the communicator's own may not be.
  void help(std::uint64_t number);
  /// Group::abort: on every rank the calls end in PeerLost, this one's and later ones too. Any
  /// thread, at any time.
  void abort(std::string_view reason);
  /// Leaves the group after the calls made so far; later ones return kInvalidArgument. Local.
  void close();
  /// close(), but calls that are not over after `grace` end in an error everywhere. For the end of
  /// a program, which cannot wait for ranks that may never come.
  void close_within(std::chrono::milliseconds grace);
  bool closed() const;

  // Of the group; they stay valid when it is closed.
  const std::string& name() const { return name_; }
  /// The name; with ranks that are threads of this process, which share it, the rank behind it.
  const std::string& key() const { return key_; }
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  int threads() const { return threads_; }
  const std::string& isa() const { return isa_; }
  const std::string& transport() const { return transport_; }
  Status health() const;

 private:
  struct Task {
    std::uint64_t ticket;
    Call call;
    Done done;
  };

  enum class Wait { kAbortable, kPatient };

  Communicator(Context context, Group group);
  /// Calls are served in the order of the tickets that they draw; both under the mutex.
  void await_turn(std::unique_lock<std::mutex>& lock, std::uint64_t ticket, Wait wait);
  Status make(const Call& call);
  void end_turn();
  bool has_turn() const { return !tasks_.empty() && tasks_.front().ticket == served_; }
  /// Makes the first of the submitted calls, which has_turn(). The lock is held before and after.
  void make_task(std::unique_lock<std::mutex>& lock);
  void work();

  const std::string name_, key_, isa_, transport_;
  const int rank_, ranks_, threads_;
  const pid_t process_;         ///< a forked child has a copy of this object, but not its thread
  Context context_;             // belongs to the call whose turn it is
  std::optional<Group> group_;  // the same; empty: closed
  mutable std::mutex mutex_;    // guards what follows
  std::condition_variable turn_;
  std::uint64_t drawn_ = 0, served_ = 0;
  std::deque<Task> tasks_;
  bool closing_ = false;
  std::thread worker_;  ///< serves tasks_; started with the first of them
};

}  // namespace weft::python
