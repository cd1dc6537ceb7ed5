// SPDX-License-Identifier: Apache-2.0
// MessageQueue: messages between two ranks that are under way while the ranks do other things.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "weft/collectives.h"
#include "weft/export.h"
#include "weft/group.h"
#include "weft/status.h"

namespace weft {

/// As the peer of a kRecv: the first message of any rank that no receive posted earlier claims.
inline constexpr int kAnyPeer = -1;

namespace internal {
class MessageQueueState;
}

/// Move-only. Its thread does the copying and sleeps while there is nothing to do.
class WEFT_API MessageQueue {
 public:
  /// With the status and the peer's rank, for kAnyPeer that whose message it was (kAnyPeer if none
  /// came). Must not throw, nor destroy the queue; it may post.
  using Done = std::function<void(const Status& status, int peer)>;

  /// Takes `group`, which from then on is for these messages alone, and starts one thread. Local;
  /// the other ranks of the group make queues, too. GroupOptions::interrupted is not asked, because
  /// no call of the program waits here. Errors: kOutOfMemory (no more threads), kInvalidArgument
  /// (WEFT_ISA), what has made the group unusable.
  static Result<MessageQueue> create(Group group);
  MessageQueue(MessageQueue&&) noexcept;
  MessageQueue& operator=(MessageQueue&&) noexcept;
  /// Ends what is still under way with kPeerLost and leaves the group. Messages that are in their
  /// slots can still be received. Waits for a `done` that is running.
  ~MessageQueue();

  /// Starts a message and returns at once; any thread. Its memory belongs to the queue until
  /// `done`, which is called once, on the queue's thread: for kSend when `data` may be used again,
  /// whether or not the receiver has come (two pieces of up to 512 KiB fit between a pair); for
  /// kRecv when all of it is there. message.peer may be this rank itself.
  ///
  /// Messages of one kind with one peer are served in the order posted. Both sides give a message
  /// the same tag, count and dtype; otherwise kMismatch names both values. timeout_s: seconds from
  /// now; 0: exec_timeout_s; negative: for ever.
  ///
  /// Errors: kInvalidArgument (this message alone), kMismatch, kTimeout, kPeerLost (the queue is
  /// unusable on all ranks, as a group after an error; everything under way ends with it).
  void post(const Message& message, std::int64_t tag, double timeout_s, Done done);

  /// Group::abort of its group.
  void abort(std::string_view reason);
  /// Group::health of its group.
  Status health() const;

 private:
  explicit MessageQueue(std::unique_ptr<internal::MessageQueueState> state);
  std::unique_ptr<internal::MessageQueueState> state_;
};

}  // namespace weft
