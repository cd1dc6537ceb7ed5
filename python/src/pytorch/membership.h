// SPDX-License-Identifier: Apache-2.0
// Membership: what a rank has of a process group. Two groups of weft, because a message may be
// under way for as long as it likes while collectives come and go.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "runtime/communicator.h"
#include "weft/messages.h"

namespace weft::python {

class Membership {
 public:
  Membership(std::shared_ptr<Communicator> collectives, MessageQueue messages);
  ~Membership();

  Communicator& collectives() const { return *collectives_; }
  /// MessageQueue::post. After close(), done gets kInvalidArgument.
  void post(const Message& message, std::int64_t tag, double timeout_s, MessageQueue::Done done);

  /// Ends both groups on every rank. Any thread.
  void abort(std::string_view reason);
  /// Leaves both after the collectives made so far, those that are not over within `grace` given
  /// up, and ends the messages under way. Local.
  void close();
  void close_within(std::chrono::milliseconds grace);
  /// The first error of one of them.
  Status health() const;

 private:
  void end_messages();
  std::shared_ptr<MessageQueue> messages() const;

  const std::shared_ptr<Communicator> collectives_;
  mutable std::mutex mutex_;
  std::shared_ptr<MessageQueue> messages_;  // guarded by mutex_; null: closed
};

/// How the ranks of a store meet and join. Collective. Errors: those of Meeting::ids, Group::join,
/// Context::create, Communicator::create and MessageQueue::create. The first has PyTorch's threads.
Result<std::shared_ptr<Communicator>> join_by_store(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int ranks, const std::string& name,
                                                    std::chrono::milliseconds timeout);
Result<std::shared_ptr<Membership>> become_member(const c10::intrusive_ptr<c10d::Store>& store,
                                                  int rank, int ranks, const std::string& name,
                                                  std::chrono::milliseconds timeout);

/// As GroupOptions has it; 0 or less, which c10d calls no timeout, is for ever.
double seconds(std::chrono::milliseconds timeout);

}  // namespace weft::python
