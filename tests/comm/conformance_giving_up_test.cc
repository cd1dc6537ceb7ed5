// SPDX-License-Identifier: Apache-2.0
// What every transport must do when the program itself wants a group to end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
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

/// What each rank's barrier returned, and when, if `last` never makes the call.
struct Ends {
  std::vector<Status> status;
  std::vector<std::int64_t> ns;
  explicit Ends(std::size_t ranks) : status(ranks), ns(ranks) {}

  void wait(std::vector<Group>& groups, int last) {
    on_all(groups, [&](Group& group) {
      if (group.rank() == last) return;
      const auto rank = static_cast<std::size_t>(group.rank());
      status[rank] = group.barrier();
      ns[rank] = now_ns();
    });
  }

  void expect(StatusCode code, const std::string& text, std::int64_t since_ns) const {
    for (std::size_t rank = 0; rank < status.size(); ++rank) {
      if (ns[rank] == 0) continue;
      EXPECT_EQ(status[rank].code(), code) << "rank " << rank;
      EXPECT_EQ(status[rank].message(), text) << "rank " << rank;
      EXPECT_LT(ns[rank] - since_ns, kTenth) << "rank " << rank;
    }
  }
};

void expect_unusable(std::vector<Group>& groups, const std::string& text) {
  for (Group& group : groups) {
    EXPECT_EQ(group.health().message(), text);
    EXPECT_EQ(group.barrier().message(), text);
  }
}

// With as many ranks as cores and with more.
TEST_P(GivingUp, AnyThreadEndsTheWaitsOfAllRanks) {
  for (const int ranks : {2, 3, 16}) {
    std::vector<Group> groups = make(ranks);
    Ends ends(groups.size());
    std::atomic<std::int64_t> aborted_ns{0};
    std::thread another([&] {
      std::this_thread::sleep_for(milliseconds(60));  // by then they sleep
      aborted_ns = now_ns();
      groups[1].abort("out of patience");  // rank 1 is inside its barrier
    });
    ends.wait(groups, ranks - 1 == 1 ? 0 : ranks - 1);
    another.join();
    const std::string text = "group: rank 1 gave up (out of patience). Form a new group.";
    ends.expect(StatusCode::kPeerLost, text, aborted_ns);
    expect_unusable(groups, text);
  }
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

}  // namespace
}  // namespace weft
