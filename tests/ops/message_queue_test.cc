// SPDX-License-Identifier: Apache-2.0
// Messages that are under way while the ranks do other things.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "processes.h"
#include "thread_ranks.h"
#include "weft/messages.h"

namespace weft::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Kind = Message::Kind;

constexpr DType kInt8 = DType::kInt8;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kSlot = 512 << 10;

using Bytes = std::vector<std::uint8_t>;

/// A queue and what became of what was posted. Ends a test that hangs.
class Queue {
 public:
  explicit Queue(Group group)
      : rank_(group.rank()), queue_(MessageQueue::create(std::move(group)).value()) {}

  struct Ended {
    bool ended = false;
    Status status;
    int peer = -7;
  };

  /// The number of the message.
  std::size_t post(Kind kind, Bytes& data, int peer, std::int64_t tag = 0, double timeout_s = 0) {
    return post({kind, data.data(), std::ssize(data), kInt8, peer}, tag, timeout_s);
  }
  std::size_t post(const Message& message, std::int64_t tag = 0, double timeout_s = 0) {
    std::size_t number;
    {
      const std::lock_guard lock(mutex_);
      number = ended_.size();
      ended_.emplace_back();
    }
    queue_->post(message, tag, timeout_s, [this, number](const Status& status, int peer) {
      const std::lock_guard lock(mutex_);
      EXPECT_FALSE(ended_[number].ended) << "called twice";
      ended_[number] = {true, status, peer};
      changed_.notify_all();
    });
    return number;
  }

  bool ended(std::size_t number) {
    const std::lock_guard lock(mutex_);
    return ended_[number].ended;
  }
  Ended wait(std::size_t number) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(40), [&] { return ended_[number].ended; }));
    return ended_[number];
  }
  void expect_ok(std::size_t number, int peer) {
    const Ended end = wait(number);
    EXPECT_TRUE(end.status.ok()) << end.status.to_string();
    EXPECT_EQ(end.peer, peer);
  }
  int rank() const { return rank_; }
  MessageQueue& operator*() { return *queue_; }
  void destroy() { queue_.reset(); }

 private:
  const int rank_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Ended> ended_;
  std::optional<MessageQueue> queue_;
};

/// Bytes that only message `number` from a rank to another has.
Bytes contents(int from, int to, int number, std::int64_t bytes) {
  std::mt19937 random(static_cast<unsigned>((from * 64 + to) * 1000 + number));
  Bytes data(static_cast<std::size_t>(bytes));
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = i < 4099 ? static_cast<std::uint8_t>(random()) : data[i - 4099];
  return data;
}

/// Runs body on each rank with a queue: as threads, and as processes.
void on_threads(int ranks, const std::function<void(Queue&)>& body,
                const GroupOptions& options = quick_options()) {
  std::vector<Group> groups = make_groups("loopback", ranks, options);
  run_threads(ranks, [&](int rank) {
    Queue queue(std::move(groups[static_cast<std::size_t>(rank)]));
    body(queue);
  });
}
void on_processes(int ranks, const std::function<void(Queue&)>& body) {
  run_ranks(ranks, [&](Rank& rank) {
    Queue queue(Group::join(rank.id, rank.rank, rank.ranks, quick_options()).value());
    body(queue);
    return std::string();
  });
}

// Both directions between all, oneself included, of any length, each with a tag of its own.
void exchange_many(Queue& queue, int ranks) {
  constexpr int kEach = 25;
  constexpr std::int64_t kBytes[] = {0, 1, 67, 4096, kSlot, kSlot + 1, 3 * kSlot + 5};
  struct One {
    Kind kind;
    int peer, number;
    Bytes data;
    std::size_t posted;
  };
  const int rank = queue.rank();
  std::mt19937 random(static_cast<unsigned>(rank));
  std::vector<std::pair<Kind, int>> order;
  for (int peer = 0; peer < ranks; ++peer)
    for (int i = 0; i < kEach; ++i)
      order.insert(order.end(), {{Kind::kSend, peer}, {Kind::kRecv, peer}});
  std::ranges::shuffle(order, random);
  std::vector<int> numbers(2 * static_cast<std::size_t>(ranks));
  std::deque<One> all;
  for (const auto& [kind, peer] : order) {
    const int number = numbers[static_cast<std::size_t>(2 * peer + (kind == Kind::kSend))]++;
    const std::int64_t bytes = kBytes[(number + rank + peer) % std::ssize(kBytes)];
    all.push_back({kind, peer, number,
                   kind == Kind::kSend ? contents(rank, peer, number, bytes)
                                       : Bytes(static_cast<std::size_t>(bytes), 0xc5),
                   0});
    all.back().posted = queue.post(kind, all.back().data, peer, number * 1'000'000'007LL);
  }
  for (One& one : all) {
    queue.expect_ok(one.posted, one.peer);
    const auto bytes = std::ssize(one.data);
    const bool sent = one.kind == Kind::kSend;
    EXPECT_EQ(one.data, contents(sent ? rank : one.peer, sent ? one.peer : rank, one.number, bytes))
        << one.number << " of rank " << one.peer;
  }
}

TEST(MessageQueue, ManyMessagesAreUnderWayAtOnce) {
  for (const int ranks : {1, 3}) {
    on_threads(ranks, [&](Queue& queue) { exchange_many(queue, ranks); });
    on_processes(ranks, [&](Queue& queue) { exchange_many(queue, ranks); });
  }
}

// A turn depends on the one before, so it measures how long a queue takes to wake up and notice.
TEST(MessageQueue, GoesToAndFro) {
  on_threads(2, [](Queue& queue) {
    Bytes data(8);
    for (int turn = 0; turn < 500; ++turn) {
      const Kind kind = (turn + queue.rank()) % 2 ? Kind::kSend : Kind::kRecv;
      data[0] = static_cast<std::uint8_t>(kind == Kind::kSend ? turn : 0xc5);
      queue.expect_ok(queue.post(kind, data, 1 - queue.rank(), turn), 1 - queue.rank());
      EXPECT_EQ(data[0], static_cast<std::uint8_t>(turn));
    }
  });
}

TEST(MessageQueue, WhatFitsIntoTheSlotsIsSentWithoutTheReceiver) {
  std::vector<Group> groups = make_groups("loopback", 2);
  Queue sender(std::move(groups[0])), receiver(std::move(groups[1]));
  Bytes small = contents(0, 1, 0, 100), large = contents(0, 1, 1, kSlot), third = {3};
  const std::size_t last = [&] {
    sender.expect_ok(sender.post(Kind::kSend, small, 1), 1);
    sender.expect_ok(sender.post(Kind::kSend, large, 1), 1);
    return sender.post(Kind::kSend, third, 1);
  }();
  const Bytes wanted[] = {small, large, third};
  small.assign(small.size(), 0);  // its memory is free
  large.assign(large.size(), 0);
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(sender.ended(last));
  for (const Bytes& one : wanted) {
    Bytes got(one.size());
    receiver.expect_ok(receiver.post(Kind::kRecv, got, 0), 0);
    EXPECT_EQ(got, one);
  }
  sender.expect_ok(last, 1);
}

TEST(MessageQueue, AReceiveOfAnyPeerSaysWhoseMessageItWas) {
  on_threads(3, [](Queue& queue) {
    constexpr int kEach = 20;
    if (queue.rank() > 0) {
      std::deque<Bytes> sent;
      for (int i = 0; i < kEach; ++i) {
        sent.push_back(contents(queue.rank(), 0, i, 50));
        queue.post(Kind::kSend, sent.back(), 0, 5);
      }
      for (std::size_t i = 0; i < kEach; ++i) queue.expect_ok(i, 0);
      return;
    }
    std::deque<Bytes> got(2 * kEach, Bytes(50));
    for (Bytes& one : got) queue.post(Kind::kRecv, one, kAnyPeer, 5);
    int next[] = {0, 0, 0};
    for (std::size_t i = 0; i < got.size(); ++i) {
      const int peer = queue.wait(i).peer;
      ASSERT_TRUE(peer == 1 || peer == 2) << peer;
      EXPECT_EQ(got[i], contents(peer, 0, next[peer]++, 50));
    }
    EXPECT_EQ(next[1], next[2]);
  });
}

TEST(MessageQueue, OfReceivesThatFitTheFirstGetsTheMessage) {
  std::vector<Group> groups = make_groups("loopback", 3);
  std::deque<Queue> queues;
  for (Group& group : groups) queues.emplace_back(std::move(group));
  Bytes got[5] = {Bytes(1), Bytes(1), Bytes(1), Bytes(1), Bytes(1)};
  constexpr int kPeers[] = {1, kAnyPeer, 1, 2, kAnyPeer};
  for (int i = 0; i < 5; ++i) queues[0].post(Kind::kRecv, got[i], kPeers[i]);
  Bytes sent[] = {{1}, {2}, {3}, {4}, {5}};
  const auto send = [&](std::size_t from, int number, std::size_t receive) {
    queues[from].post(Kind::kSend, sent[number], 0);
    queues[0].expect_ok(receive, static_cast<int>(from));
    EXPECT_EQ(got[receive][0], sent[number][0]);
  };
  send(1, 0, 0);
  send(2, 1, 1);  // the receive of any peer was posted before that of rank 2
  send(1, 2, 2);
  send(1, 3, 4);  // that of rank 2 is not for it
  send(2, 4, 3);
}

/// All that is under way, and what is posted later, ends with this error on all ranks.
void expect_end(std::deque<Queue>& queues, StatusCode code, const std::string& text) {
  const auto check = [&](Queue& queue, std::size_t number) {
    const Status status = queue.wait(number).status;
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(text));
  };
  for (Queue& queue : queues) check(queue, 0);
  for (Queue& queue : queues) {
    Bytes data(1);
    check(queue, queue.post(Kind::kSend, data, 0));
    EXPECT_EQ((*queue).health().code(), code);
  }
}

std::deque<Queue> local_queues(int ranks, const GroupOptions& options = quick_options()) {
  std::deque<Queue> queues;
  for (Group& group : make_groups("loopback", ranks, options))
    queues.emplace_back(std::move(group));
  return queues;
}

TEST(MessageQueue, DifferencesAreAMismatchOnBothSides) {
  const auto differ = [](std::int64_t tag, std::int64_t count, DType dtype, const char* text) {
    std::deque<Queue> queues = local_queues(2);
    Bytes data(4 * kSlot), received(4 * kSlot);  // the sender is not done before it is noticed
    queues[0].post({Kind::kSend, data.data(), 4 * kSlot, kInt8, 1}, 7);
    queues[1].post({Kind::kRecv, received.data(), count, dtype, 0}, tag);
    expect_end(queues, StatusCode::kMismatch, text);
  };
  differ(8, 4 * kSlot, kInt8,
         "message queue: tag is 7 on rank 0, which sends, but 8 on rank 1, which receives");
  differ(7, 3 * kSlot, kInt8, "count is 2097152 on rank 0, which sends, but 1572864 on rank 1");
  differ(7, 4 * kSlot, DType::kUInt8, "dtype is int8 on rank 0, which sends, but uint8 on rank 1");
}

TEST(MessageQueue, AMessageThatMakesNoSenseEndsAlone) {
  std::deque<Queue> queues = local_queues(2);
  const auto refused = [&](const Message& message, double timeout_s, const std::string& text) {
    const Status status = queues[0].wait(queues[0].post(message, 0, timeout_s)).status;
    EXPECT_EQ(status.to_string(), "invalid argument: message queue" + text);
  };
  std::int8_t byte = 0;
  refused({Kind::kSend, &byte, 1, kInt8, 2}, 0, " (rank 0): peer is 2 but must be 0 to 1");
  refused({Kind::kSend, &byte, 1, kInt8, kAnyPeer}, 0, " (rank 0): peer is -1 but must be 0 to 1");
  refused({Kind::kRecv, nullptr, 3, kInt8, 1}, 0, " (rank 0): data is null but has 3 bytes");
  refused({Kind::kRecv, &byte, 1, kInt8, 1}, std::nan(""), ": timeout_s is not a number");
  Bytes sent = {42}, got = {0};
  queues[1].post(Kind::kSend, sent, 0);
  queues[0].expect_ok(queues[0].post(Kind::kRecv, got, 1), 1);
  EXPECT_EQ(got, sent);
}

TEST(MessageQueue, EveryMessageHasADeadlineOfItsOwn) {
  GroupOptions options = quick_options();
  options.exec_timeout_s = -1;
  std::deque<Queue> queues = local_queues(2, options);
  Bytes data(1), other(1);
  queues[1].post(Kind::kRecv, other, 0);
  queues[0].post(Kind::kRecv, data, 1, 1);
  const std::int64_t begin = monotonic_ns();
  queues[0].post(Kind::kRecv, data, 1, 12, 0.2);
  expect_end(queues, StatusCode::kTimeout, "s for rank 1 to send 1 elements of int8 (tag 12). It");
  EXPECT_GE(monotonic_ns() - begin, kSecond / 5);
  EXPECT_LT(monotonic_ns() - begin, kSecond);
  EXPECT_THAT((*queues[1]).health().message(), HasSubstr("the limit is 0.2 s. Form a new group."));
}

TEST(MessageQueue, AbortEndsAllOfThem) {
  std::deque<Queue> queues = local_queues(3);
  Bytes data[3] = {Bytes(1), Bytes(1), Bytes(1)};
  for (std::size_t rank = 0; rank < 3; ++rank) queues[rank].post(Kind::kRecv, data[rank], kAnyPeer);
  std::this_thread::sleep_for(milliseconds(20));
  (*queues[1]).abort("enough");
  expect_end(queues, StatusCode::kPeerLost, "group: rank 1 gave up (enough). Form a new group.");
}

TEST(MessageQueue, WhatIsInTheSlotsOutlivesTheSendersQueue) {
  std::deque<Queue> queues = local_queues(3);
  Bytes sent = contents(0, 1, 0, 1000), large(4 * kSlot), got(1000), rest(4 * kSlot);
  queues[0].expect_ok(queues[0].post(Kind::kSend, sent, 1), 1);
  const auto cut = queues[0].post(Kind::kSend, large, 1);
  const auto waits = queues[0].post(Kind::kRecv, large, 2);
  queues[0].destroy();
  for (const auto number : {cut, waits})
    EXPECT_EQ(queues[0].wait(number).status.to_string(),
              "peer lost: message queue: rank 0 has destroyed its queue");
  queues[1].expect_ok(queues[1].post(Kind::kRecv, got, 0), 0);
  EXPECT_EQ(got, sent);
  EXPECT_TRUE((*queues[1]).health().ok());
  EXPECT_THAT(queues[1].wait(queues[1].post(Kind::kRecv, rest, 0)).status.to_string(),
              HasSubstr("peer lost: message queue: rank 0 left the group while rank 1 waited for "
                        "rank 0 to send 2097152 elements of int8."));
}

// Others may still send; a receive of any peer ends when nobody is left.
TEST(MessageQueue, ARankThatLeavesIsOnlyMissedIfItIsNeeded) {
  std::deque<Queue> queues = local_queues(3);
  Bytes got(1), sent = {9};
  const auto any = queues[0].post(Kind::kRecv, got, kAnyPeer);
  queues[1].destroy();
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_FALSE(queues[0].ended(any));
  queues[2].post(Kind::kSend, sent, 0);
  queues[0].expect_ok(any, 2);
  const auto none = queues[0].post(Kind::kRecv, got, kAnyPeer);
  queues[2].destroy();
  EXPECT_THAT(queues[0].wait(none).status.to_string(),
              HasSubstr("left the group while rank 0 waited for any rank to send 1 elements"));
}

TEST(MessageQueue, AKilledPeerIsLostWithinASecond) {
  for (const int peer : {1, kAnyPeer}) {
    Processes processes(3, [&](Rank& rank) {
      Queue queue(Group::join(rank.id, rank.rank, rank.ranks, quick_options()).value());
      Bytes data(100);
      const auto number = queue.post(Kind::kRecv, data, rank.rank == 0 ? peer : 0);
      rank.tell("posted");
      return queue.wait(number).status.to_string();
    });
    for (int rank = 0; rank < 3; ++rank) ASSERT_TRUE(processes.await(rank, "posted"));
    const std::int64_t killed_ns = processes.kill(1);
    for (const int rank : {0, 2}) {
      const Outcome outcome = processes.finish(rank);
      EXPECT_TRUE(outcome.clean());
      EXPECT_LT(outcome.finished_ns - killed_ns, kSecond);
      EXPECT_THAT(outcome.text,
                  AllOf(HasSubstr("peer lost: message queue: rank 1 is gone (its process ended)"),
                        HasSubstr("while rank 0 waited for ")));
    }
  }
}

std::int64_t cpu_ns() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

// Nor does a receive that waits for long.
TEST(MessageQueue, AnIdleQueueUsesNoProcessor) {
  std::deque<Queue> queues = local_queues(2);
  Bytes got(1), sent(1);
  for (const bool waits : {false, true}) {
    if (waits) queues[0].post(Kind::kRecv, got, 1);
    std::this_thread::sleep_for(milliseconds(20));
    const std::int64_t before = cpu_ns();
    std::this_thread::sleep_for(milliseconds(500));
    EXPECT_LT(cpu_ns() - before, (waits ? 20 : 3) * kSecond / 1000) << waits;
  }
  queues[1].post(Kind::kSend, sent, 0);
  queues[0].expect_ok(0, 1);
}

TEST(MessageQueue, AForkedChildIsTold) {
  run_ranks(1, [](Rank& rank) {
    Queue queue(Group::join(rank.id, 0, 1, quick_options()).value());
    Bytes sent = {1}, got = {0};
    const pid_t child = fork();
    if (child == 0) {
      const Status status = queue.wait(queue.post(Kind::kSend, sent, 0)).status;
      queue.destroy();
      _exit(status.code() == StatusCode::kInvalidArgument ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    queue.post(Kind::kSend, sent, 0);
    queue.expect_ok(queue.post(Kind::kRecv, got, 0), 0);
    EXPECT_EQ(got, sent);
    return std::string();
  });
}

}  // namespace
}  // namespace weft::testing
