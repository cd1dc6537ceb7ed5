// SPDX-License-Identifier: Apache-2.0
// send, recv and batch_send_recv: what arrives, in which order, and what ends a wait.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "processes.h"
#include "thread_ranks.h"
#include "weft/collectives.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Kind = Message::Kind;

constexpr DType kInt8 = DType::kInt8;
constexpr std::int64_t kSecond = 1'000'000'000;

Context one_thread() { return Context::create({.threads = 1}).value(); }

GroupOptions options_of(double exec_timeout_s) {
  GroupOptions options = quick_options();
  options.exec_timeout_s = exec_timeout_s;
  return options;
}

/// Bytes that only message `number` from a rank to another has, in front of a canary.
std::vector<std::uint8_t> contents(int from, int to, int number, std::int64_t bytes) {
  std::mt19937 random(static_cast<unsigned>((from * 64 + to) * 1000 + number));
  std::vector<std::uint8_t> data(static_cast<std::size_t>(bytes) + 1, 0xc5);
  // A prime number of them, again and again.
  constexpr std::int64_t kPeriod = 4099;
  for (std::int64_t i = 0; i < std::min(bytes, kPeriod); ++i)
    data[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(random());
  for (std::int64_t i = kPeriod; i < bytes; i += kPeriod)
    std::copy_n(data.begin(), std::min(kPeriod, bytes - i), data.begin() + i);
  return data;
}
std::vector<std::uint8_t> blank(std::int64_t bytes) {
  return std::vector<std::uint8_t>(static_cast<std::size_t>(bytes) + 1, 0xc5);
}

// From nothing to many pieces, on both sides of a piece's end.
constexpr std::int64_t kBytes[] = {0, 1, 67, 4096, 512 << 10, (512 << 10) + 1, (2 << 20) + 3};

void expect_ok(const Status& status) { EXPECT_TRUE(status.ok()) << status.to_string(); }

/// Each rank to the next: even ranks send first.
void pass_around(Context& context, Group& group) {
  const int rank = group.rank(), ranks = group.ranks();
  const int next = (rank + 1) % ranks, last = (rank + ranks - 1) % ranks;
  int number = 0;
  for (const std::int64_t bytes : kBytes) {
    const auto sent = contents(rank, next, number, bytes);
    auto received = blank(bytes);
    const auto send_it = [&] { expect_ok(send(context, group, sent.data(), bytes, kInt8, next)); };
    if (rank % 2 == 0) send_it();
    expect_ok(recv(context, group, received.data(), bytes, kInt8, last));
    if (rank % 2 == 1) send_it();
    EXPECT_EQ(received, contents(last, rank, number, bytes)) << bytes;
    ++number;
  }
}

/// Everybody to everybody, itself included, several to each, in an order of the rank's own.
void batch(Context& context, Group& group, unsigned seed) {
  const int rank = group.rank(), ranks = group.ranks();
  std::vector<std::vector<std::uint8_t>> memory, wanted;
  std::vector<Message> messages;
  std::mt19937 random(seed * 64 + static_cast<unsigned>(rank));
  const auto add = [&](Kind kind, int peer, int number) {
    const std::int64_t bytes = kBytes[(number + rank + peer) % std::ssize(kBytes)];
    const int from = kind == Kind::kSend ? rank : peer, to = kind == Kind::kSend ? peer : rank;
    wanted.push_back(contents(from, to, number, bytes));
    memory.push_back(kind == Kind::kSend ? wanted.back() : blank(bytes));
    messages.push_back({kind, memory.back().data(), bytes, kInt8, peer});
  };
  constexpr int kEach = 3;
  // Those of one kind with one peer keep their order; all else is shuffled.
  std::vector<std::pair<Kind, int>> order;
  for (int peer = 0; peer < ranks; ++peer)
    for (int i = 0; i < kEach; ++i)
      order.insert(order.end(), {{Kind::kSend, peer}, {Kind::kRecv, peer}});
  std::ranges::shuffle(order, random);
  std::vector<int> numbers(2 * static_cast<std::size_t>(ranks));
  for (const auto& [kind, peer] : order)
    add(kind, peer, numbers[static_cast<std::size_t>(2 * peer + (kind == Kind::kSend))]++);
  expect_ok(batch_send_recv(context, group, messages));
  for (std::size_t i = 0; i < memory.size(); ++i)
    EXPECT_EQ(memory[i], wanted[i]) << "message " << i << " with rank " << messages[i].peer;
}

/// All of it, with collectives in between, which messages leave alone.
void exchange_all(Group& group) {
  Context context = one_thread();
  for (unsigned turn = 0; turn < 3; ++turn) {
    if (group.ranks() % 2 == 0) pass_around(context, group);
    float sum = 1, total = 0;
    expect_ok(allreduce(context, group, &sum, &total, 1, DType::kFloat32));
    EXPECT_EQ(total, static_cast<float>(group.ranks()));
    batch(context, group, turn);
  }
}

TEST(Messages, ArriveUnchangedAndInOrderAmongThreads) {
  for (const int ranks : {1, 2, 3, 8}) {
    std::vector<Group> groups = make_groups("loopback", ranks);
    on_all(groups, exchange_all);
  }
}

TEST(Messages, ArriveUnchangedAndInOrderAmongProcesses) {
  for (const int ranks : {2, 3, 8})
    run_ranks(ranks, [](Rank& rank) {
      Group group = Group::join(rank.id, rank.rank, rank.ranks, quick_options()).value();
      exchange_all(group);
      return std::string();
    });
}

// Only the two take part: the third rank makes no call until they are done.
TEST(Messages, ConcernTwoRanks) {
  std::vector<Group> groups = make_groups("loopback", 3);
  std::atomic<int> done{0};
  on_all(groups, [&](Group& group) {
    Context context = one_thread();
    double value = group.rank();
    if (group.rank() == 0) expect_ok(send(context, group, &value, 1, DType::kFloat64, 2));
    if (group.rank() == 2) expect_ok(recv(context, group, &value, 1, DType::kFloat64, 0));
    EXPECT_EQ(value, group.rank() % 2);
    if (group.rank() == 1)
      while (done < 2) std::this_thread::yield();
    ++done;
    EXPECT_TRUE(group.barrier().ok());
  });
}

// A receiver that comes late finds the message although the sender waits for it asleep; one that
// left at once had taken it.
TEST(Messages, WhoReturnsIsNeededNoMore) {
  for (const bool processes : {false, true})
    for (const int late : {0, 1})
      for (const std::int64_t bytes : {std::int64_t{100}, std::int64_t{3} << 20}) {
        const auto call_and_leave = [&](Group group) {
          Context context = one_thread();
          const int rank = group.rank();
          if (rank == late) std::this_thread::sleep_for(std::chrono::milliseconds(5));
          const auto wanted = contents(0, 1, 7, bytes);
          auto data = rank == 0 ? wanted : blank(bytes);
          expect_ok(rank == 0 ? send(context, group, data.data(), bytes, kInt8, 1)
                              : recv(context, group, data.data(), bytes, kInt8, 0));
          { const Group left = std::move(group); }
          EXPECT_EQ(data, wanted);
        };
        if (processes) {
          run_ranks(2, [&](Rank& rank) {
            call_and_leave(Group::join(rank.id, rank.rank, 2, quick_options()).value());
            return std::string();
          });
        } else {
          std::vector<Group> groups = make_groups("loopback", 2);
          run_threads(2, [&](int rank) {
            call_and_leave(std::move(groups[static_cast<std::size_t>(rank)]));
          });
        }
      }
}

/// Both ranks get this error, and it stays.
void expect_both_fail(StatusCode code, const std::string& text, double timeout_s,
                      const std::function<Status(Context&, Group&)>& call) {
  std::vector<Group> groups = make_groups("loopback", 2, options_of(timeout_s));
  on_all(groups, [&](Group& group) {
    Context context = one_thread();
    const Status status = call(context, group);
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(text));
    EXPECT_EQ(call(context, group).to_string(), status.to_string());
    EXPECT_EQ(group.barrier().to_string(), status.to_string());
  });
}

TEST(Messages, DifferencesAreAMismatchOnBothSides) {
  std::vector<float> data(2'000'000);
  for (const std::int64_t count : {100, 1'000'000}) {
    expect_both_fail(StatusCode::kMismatch,
                     fmt::format("recv: count is {} on rank 0, which sends, but {} on rank 1, "
                                 "which receives",
                                 count, count + 1),
                     30, [&](Context& context, Group& group) {
                       std::vector<float> own(data.size());
                       return group.rank() == 0
                                  ? send(context, group, own.data(), count, DType::kFloat32, 1)
                                  : recv(context, group, own.data(), count + 1, DType::kFloat32, 0);
                     });
    expect_both_fail(StatusCode::kMismatch,
                     "dtype is float32 on rank 1, which sends, but int32 on rank 0, which receives",
                     30, [&](Context& context, Group& group) {
                       std::vector<float> own(data.size());
                       const Message message = {
                           group.rank() ? Kind::kSend : Kind::kRecv, own.data(), count,
                           group.rank() ? DType::kFloat32 : DType::kInt32, 1 - group.rank()};
                       return batch_send_recv(context, group, {&message, 1});
                     });
  }
}

TEST(Messages, TwoThatBothSendFirstEndAtTheDeadline) {
  expect_both_fail(StatusCode::kTimeout, "to receive 3 elements of int8. It may be stopped", 0.3,
                   [](Context& context, Group& group) {
                     const char data[] = "abc";
                     return send(context, group, data, 3, kInt8, 1 - group.rank());
                   });
}

// A rank that waits for a message, another for the call of a collective; the third gives up or is
// interrupted.
TEST(Messages, AGroupThatIsGivenUpEndsThem) {
  for (const bool interrupted : {false, true}) {
    std::atomic<bool> interrupt{false};
    GroupOptions options = quick_options();
    options.interrupted = [&] { return interrupt.load(); };
    std::vector<Group> groups = make_groups("loopback", 3, options);
    std::atomic<std::int64_t> since_ns{0};
    on_all(groups, [&](Group& group) {
      Context context = one_thread();
      float value = 0;
      if (group.rank() == 2) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        since_ns = monotonic_ns();
        interrupted ? void(interrupt = true) : group.abort("enough");
        return;
      }
      const Status status = group.rank() == 0
                                ? recv(context, group, &value, 1, DType::kFloat32, 1)
                                : allreduce(context, group, &value, &value, 1, DType::kFloat32);
      EXPECT_LT(monotonic_ns() - since_ns, kSecond / 2);
      EXPECT_EQ(status.code(), StatusCode::kPeerLost);
      if (!interrupted)
        EXPECT_EQ(status.message(), "group: rank 2 gave up (enough). Form a new group.");
      else
        EXPECT_THAT(status.message(), AnyOf("recv: rank 0 gave up (interrupted). Form a new group.",
                                            "allreduce: rank 1 gave up (interrupted). Form a new "
                                            "group."));
    });
    EXPECT_EQ(groups[2].barrier().message(), groups[0].health().message());
  }
}

// Neither what is announced before a call nor the slots of messages change under the ranks.
TEST(Messages, AForkedChildSendsNothing) {
  run_ranks(2, [](Rank& rank) {
    Group group = Group::join(rank.id, rank.rank, rank.ranks, quick_options()).value();
    Context context = one_thread();
    std::int64_t data[] = {1, 2}, received[] = {0, 0};
    const std::int64_t counts[] = {1, 1}, offsets[] = {0, 1}, none[] = {0, 0};
    const auto exchange = [&](std::span<const std::int64_t> each) {
      return alltoallv(context, group, data, received, {each, offsets, each, offsets},
                       DType::kInt64);
    };
    expect_ok(exchange(counts));
    const pid_t child = fork();
    if (child == 0) {
      const StatusCode codes[] = {
          exchange(none).code(),
          send(context, group, data, 1, DType::kInt64, 1 - rank.rank).code()};
      _exit(codes[0] == StatusCode::kInvalidArgument && codes[1] == codes[0] ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    expect_ok(exchange(counts));
    EXPECT_THAT(received, ElementsAre(rank.rank + 1, rank.rank + 1));
    return std::string();
  });
}

std::string receive_until_it_fails(const Rank& rank, double timeout_s) {
  Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(timeout_s)).value();
  Context context = one_thread();
  std::vector<std::uint8_t> data(1 << 20);
  for (int call = 0;; ++call) {
    const Status status = rank.rank == 0
                              ? send(context, group, data.data(), std::ssize(data), kInt8, 1)
                              : recv(context, group, data.data(), std::ssize(data), kInt8, 0);
    if (call == 20) rank.tell("running");
    if (!status.ok()) return status.to_string();
  }
}

TEST(Messages, KilledPeerIsLostWithinASecond) {
  for (const int victim : {0, 1}) {
    Processes processes(2, [](Rank& rank) { return receive_until_it_fails(rank, 60); });
    for (int rank = 0; rank < 2; ++rank) ASSERT_TRUE(processes.await(rank, "running"));
    const std::int64_t killed_ns = processes.kill(victim);
    const Outcome outcome = processes.finish(1 - victim);
    EXPECT_LT(outcome.finished_ns - killed_ns, kSecond);
    EXPECT_THAT(outcome.text,
                AllOf(StartsWith("peer lost: "),
                      HasSubstr(fmt::format("rank {} is gone (its process ended)", victim))));
  }
}

TEST(Messages, PeerThatNeverCallsOrLeavesEndsTheWait) {
  for (const bool leaves : {false, true}) {
    Processes processes(2, [&](Rank& rank) {
      if (rank.rank == 0) return receive_until_it_fails(rank, 0.7);
      {
        Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(0.7)).value();
        if (!leaves) {
          rank.tell("here");
          rank.await_go();
        }
      }
      if (leaves) {
        rank.tell("here");
        rank.await_go();
      }
      return std::string();
    });
    ASSERT_TRUE(processes.await(1, "here"));
    const std::int64_t since_ns = monotonic_ns();
    const Outcome outcome = processes.finish(0);
    EXPECT_LT(outcome.finished_ns - since_ns, 2 * kSecond);
    EXPECT_THAT(outcome.text, StartsWith(leaves ? "peer lost: send: rank 1 left the group"
                                                : "timeout: send: rank 0 waited "));
    processes.go(1);
  }
}

}  // namespace
}  // namespace weft::testing
