// SPDX-License-Identifier: Apache-2.0
// What is behind weft::MessageQueue.
//
// One thread moves everything. Others put messages into an inbox and ring the rank's own bell, on
// which the thread sleeps, as its peers do. A receive meets its message when that arrives: of those
// that fit, the one that was posted first.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "comm/deadline.h"
#include "ops/collectives/courier.h"
#include "weft/messages.h"

namespace weft::internal {

class MessageQueueState {
 public:
  MessageQueueState(Group group, isa::Set isa);
  ~MessageQueueState();
  MessageQueueState(const MessageQueueState&) = delete;
  MessageQueueState& operator=(const MessageQueueState&) = delete;

  Group& group() { return group_; }
  void post(const Message& message, std::int64_t tag, double timeout_s, MessageQueue::Done done);

 private:
  static constexpr std::string_view kOp = "message queue";

  struct Posted {
    ops::Transfer transfer;
    MessageQueue::Done done;
    Status refused;  // its arguments are wrong
    double limit_s;
    std::int64_t begin_ns, deadline_ns;
    std::uint64_t number = 0;  // in the order of posting
  };
  using Line = std::deque<Posted>;

  Status check(const Message& message, double timeout_s) const;

  // The thread's.
  void run();
  /// What can be done without waiting. False: nothing could.
  bool step();
  void sleep();
  bool take_posted();
  void add(Posted posted);
  bool send_to(int peer);
  bool receive_from(int peer);
  /// The line whose first receive the next message of the peer is for; null: none has been posted.
  Line* line_for(int peer);
  void finish(Posted posted, const Status& status);
  bool end_all(const Status& status);
  void check_lost();
  const Posted* waiting_for(int peer) const;
  void check_late();
  template <typename Body>
  void for_all(const Body& body) const;

  std::size_t index(int peer) const { return static_cast<std::size_t>(peer); }

  Group group_;
  GroupState& state_;
  ops::Courier courier_;

  std::mutex mutex_;
  std::vector<Posted> inbox_;  // guarded by mutex_
  std::atomic<bool> posted_{false}, stop_{false};

  std::vector<Posted> taken_;  // from the inbox
  std::uint64_t numbers_ = 0;
  std::int64_t under_way_ = 0;
  std::int64_t earliest_ns_ = kNever;            // no deadline is earlier
  int first_ = 0;                                // the peer that is looked at first
  std::vector<Line> sends_, receives_;           // per peer
  Line any_;                                     // receives of any peer
  std::vector<std::optional<Posted>> arriving_;  // per peer: the receive that has met its message

  std::thread thread_;
};

}  // namespace weft::internal
