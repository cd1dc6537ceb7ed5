// SPDX-License-Identifier: Apache-2.0
// What every transport must do when the program itself wants a group to end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "comm/group_state.h"
#include "conformance.h"

namespace weft {
namespace {

using std::chrono::milliseconds;
using testing::on_all;

constexpr std::int64_t kTenth = 100'000'000;  // ns

class GivingUp : public testing::OverTransports {};
INSTANTIATE_TEST_SUITE_P(Transports, GivingUp, ::testing::ValuesIn(testing::transports()),
                         testing::transport_name);

/// What the barriers of all ranks but `absent` returned, and how long the last took to return after
/// `event`, which another thread calls when they sleep.
struct Ended {
  std::vector<Status> status;
  std::int64_t late_ns = 0;
};
Ended end_by(std::vector<Group>& groups, int absent, const std::function<void()>& event) {
  Ended ended{std::vector<Status>(groups.size())};
  std::atomic<std::int64_t> event_ns{0}, last_ns{0};
  std::thread another([&] {
    std::this_thread::sleep_for(milliseconds(60));
    event_ns = now_ns();
    event();
  });
  on_all(groups, [&](Group& group) {
    if (group.rank() == absent) return;
    ended.status[static_cast<std::size_t>(group.rank())] = group.barrier();
    last_ns = now_ns();
  });
  another.join();
  ended.late_ns = last_ns - event_ns;
  return ended;
}

void expect_unusable(std::vector<Group>& groups, const std::string& text) {
  for (Group& group : groups) {
    EXPECT_EQ(group.health().message(), text);
    EXPECT_EQ(group.barrier().message(), text);
  }
}

/// Calls once(ranks), which returns how late the last rank was, with fewer ranks than cores and
/// with more. The quickest of three turns counts: the machine may be busy.
void expect_within_a_tenth(const std::function<std::int64_t(int ranks)>& once) {
  for (const int ranks : {2, 3, 16}) {
    std::int64_t quickest = once(ranks);
    for (int turn = 0; turn < 2; ++turn) quickest = std::min(quickest, once(ranks));
    EXPECT_LT(quickest, kTenth) << ranks;
  }
}

TEST_P(GivingUp, AnyThreadEndsTheWaitsOfAllRanks) {
  expect_within_a_tenth([&](int ranks) {
    std::vector<Group> groups = make(ranks);
    // Rank 1 is inside its barrier.
    const Ended ended = end_by(groups, 0, [&] { groups[1].abort("out of patience"); });
    const std::string text = "group: rank 1 gave up (out of patience). Form a new group.";
    for (std::size_t rank = 1; rank < groups.size(); ++rank)
      EXPECT_EQ(ended.status[rank].to_string(), "peer lost: " + text);
    expect_unusable(groups, text);
    return ended.late_ns;
  });
}

TEST_P(GivingUp, BeforeACallEndsItAtOnce) {
  std::vector<Group> groups = make(2);
  groups[0].abort("");
  expect_unusable(groups, "group: rank 0 gave up (). Form a new group.");
}

TEST_P(GivingUp, TheFirstErrorStays) {
  std::vector<Group> groups = make(3);
  on_all(groups, [](Group& group) { EXPECT_TRUE(group.barrier().ok()); });
  groups[2].abort("first");
  groups[2].abort("again");
  groups[0].abort("too late");
  expect_unusable(groups, "group: rank 2 gave up (first). Form a new group.");

  std::vector<Group> other = make(2);
  (void)other[1].state().poison(Status(StatusCode::kInternal, "op: the cause"));
  other[0].abort("too late");
  expect_unusable(other, "op: the cause");
}

// From many threads while the ranks make calls; for the thread sanitizer, too.
TEST_P(GivingUp, MayHappenAtAnyMoment) {
  for (int turn = 0; turn < 20; ++turn) {
    std::vector<Group> groups = make(3);
    std::vector<std::thread> others;
    for (std::size_t i = 0; i < 3; ++i)
      others.emplace_back([&groups, i, turn] {
        std::this_thread::sleep_for(std::chrono::microseconds(100 * turn));
        groups[i].abort("enough");
      });
    on_all(groups, [](Group& group) {
      while (group.barrier().ok()) {
      }
    });
    for (std::thread& thread : others) thread.join();
    EXPECT_THAT(groups[0].health().message(), ::testing::HasSubstr("gave up (enough)"));
    expect_unusable(groups, groups[0].health().message());
  }
}

/// A question that is true for one thread, once it is told so.
struct Question {
  std::atomic<std::thread::id> caller;
  std::atomic<bool> answer{false};
  std::atomic<int> asked{0}, asked_by_others{0};

  GroupOptions options() {
    GroupOptions options = testing::quick_options();
    options.interrupted = [this] {
      const bool by_caller = std::this_thread::get_id() == caller.load();
      ++(by_caller ? asked : asked_by_others);
      return by_caller && answer;
    };
    return options;
  }
};

TEST_P(GivingUp, AnInterruptedRankEndsTheCallsOfAll) {
  expect_within_a_tenth([&](int ranks) {
    Question question;
    std::vector<Group> groups = make(ranks, question.options());
    on_all(groups, [](Group& group) { EXPECT_TRUE(group.barrier().ok()); });
    std::thread another([&] {
      std::this_thread::sleep_for(milliseconds(60));
      question.answer = true;
    });
    std::vector<Status> got(groups.size());
    std::atomic<std::int64_t> begin_ns{0}, last_ns{0};
    begin_ns = now_ns() + 60'000'000;
    on_all(groups, [&](Group& group) {
      if (group.rank() == 0) return;
      if (group.rank() == 1) question.caller = std::this_thread::get_id();
      got[static_cast<std::size_t>(group.rank())] = group.barrier();
      last_ns = now_ns();
    });
    another.join();
    const std::string text = "barrier: rank 1 gave up (interrupted). Form a new group.";
    for (std::size_t rank = 1; rank < groups.size(); ++rank)
      EXPECT_EQ(got[rank].to_string(), "peer lost: " + text);
    expect_unusable(groups, text);
    return last_ns - begin_ns;
  });
}

TEST_P(GivingUp, TheQuestionIsSeldomAndOnlyForSleepers) {
  Question question;
  std::vector<Group> groups = make(2, question.options());
  on_all(groups, [&](Group& group) {
    if (group.rank() == 0) {
      EXPECT_TRUE(group.barrier().ok());  // sleeps
      return;
    }
    question.caller = std::this_thread::get_id();
    std::this_thread::sleep_for(milliseconds(300));
    EXPECT_TRUE(group.barrier().ok());  // the other one is there: nothing to wait for
  });
  EXPECT_EQ(question.asked, 0);
  EXPECT_GE(question.asked_by_others, 3);
  EXPECT_LE(question.asked_by_others, 60);
}

}  // namespace
}  // namespace weft
