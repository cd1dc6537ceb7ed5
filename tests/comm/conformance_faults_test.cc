// SPDX-License-Identifier: Apache-2.0
// What every transport must do when ranks disagree, are late, leave or fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "comm/group_state.h"
#include "conformance.h"

namespace weft {
namespace {

using internal::CallHeader;
using internal::CounterId;
using internal::GroupState;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::on_all;
using testing::quick_options;

class Faults : public testing::OverTransports {};
INSTANTIATE_TEST_SUITE_P(Transports, Faults, ::testing::ValuesIn(testing::transports()),
                         testing::transport_name);

/// Runs one call with a header per rank and returns what each rank got.
std::vector<Status> check_headers(std::vector<Group>& groups,
                                  const std::function<CallHeader(int)>& header) {
  std::vector<Status> got(groups.size());
  on_all(groups, [&](Group& group) {
    Status status = group.state().begin_call(header(group.rank()));
    if (status.ok()) status = group.state().check_peers();
    got[static_cast<std::size_t>(group.rank())] = status;
  });
  return got;
}

void expect_all(const std::vector<Status>& got, StatusCode code, const std::string& text) {
  for (std::size_t rank = 0; rank < got.size(); ++rank) {
    EXPECT_EQ(got[rank].code(), code) << "rank " << rank;
    EXPECT_EQ(got[rank].message(), text) << "rank " << rank;
  }
}

TEST_P(Faults, EqualHeadersAgree) {
  std::vector<Group> groups = make(4);
  for (int call = 0; call < 5; ++call)
    expect_all(check_headers(groups, [&](int) { return CallHeader("op").add("n", call); }),
               StatusCode::kOk, "");
}

TEST_P(Faults, DifferingValueIsNamedAlikeOnAllRanks) {
  std::vector<Group> groups = make(5);
  const std::string text =
      "matmul_allreduce_add_rmsnorm: n is 4096 on rank 0 but 5120 on rank 3. Give it the same "
      "value on "
      "every rank and form a new group.";
  expect_all(check_headers(groups,
                           [](int rank) {
                             return CallHeader("matmul_allreduce_add_rmsnorm")
                                 .add("m", 8)
                                 .add("n", rank == 3   ? 5120
                                           : rank == 4 ? 1
                                                       : 4096);
                           }),
             StatusCode::kMismatch, text);
  on_all(groups, [&](Group& group) {  // and it stays so
    EXPECT_EQ(group.barrier().message(), text);
    EXPECT_EQ(group.health().message(), text);
  });
}

TEST_P(Faults, DifferingOperatorIsNamedAlikeOnAllRanks) {
  std::vector<Group> groups = make(3);
  expect_all(check_headers(groups,
                           [](int rank) { return CallHeader(rank == 2 ? "ffn" : "moe_dispatch"); }),
             StatusCode::kMismatch,
             "rank 0 called moe_dispatch but rank 2 called ffn. All ranks must make the same calls "
             "in the same "
             "order; form a new group.");
}

TEST_P(Faults, RankZeroAlone) {
  std::vector<Group> groups = make(3);
  expect_all(
      check_headers(groups, [](int rank) { return CallHeader("op").add("k", rank ? 2 : 1); }),
      StatusCode::kMismatch,
      "op: k is 1 on rank 0 but 2 on rank 1. Give it the same value on every rank and form a new "
      "group.");
}

TEST_P(Faults, FieldGivenOnSomeRanksOnly) {
  const auto with_bias = [](bool given) {
    CallHeader header("op");
    if (given) header.add("bias", "float16");
    return header.add("n", 3);
  };
  std::vector<Group> missing = make(2), extra = make(2);
  expect_all(check_headers(missing, [&](int rank) { return with_bias(rank == 0); }),
             StatusCode::kMismatch,
             "op: bias is float16 on rank 0 but not given on rank 1. Give it the same value on "
             "every rank and form "
             "a new group.");
  expect_all(check_headers(extra, [&](int rank) { return with_bias(rank == 1); }),
             StatusCode::kMismatch,
             "op: bias is not given on rank 0 but float16 on rank 1. Give it the same value on "
             "every rank and form "
             "a new group.");
}

TEST(CallHeaderTest, LongValuesThatDifferAtTheEndStillDiffer) {
  const std::string common(60, 'x');
  const CallHeader a = CallHeader("op").add("s", common + "1"),
                   b = CallHeader("op").add("s", common + "2");
  EXPECT_NE(a.digest_, b.digest_);
  EXPECT_THAT(CallHeader::difference(a, b, 1),
              AllOf(HasSubstr("op: s is xxxx"), HasSubstr("on rank 1")));
  EXPECT_NE(CallHeader("op").add("ab", "c").digest_, CallHeader("op").add("a", "bc").digest_);
}

TEST_P(Faults, DeadlineNamesTheRankThatNeverArrives) {
  GroupOptions options = quick_options();
  options.exec_timeout_s = 0.3;
  std::vector<Group> groups = make(3, options);
  std::vector<Status> got(3);
  on_all(groups, [&](Group& group) {
    if (group.rank() == 2) return;
    const auto begin = std::chrono::steady_clock::now();
    got[static_cast<std::size_t>(group.rank())] = group.barrier();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_GE(seconds, 0.25);
    EXPECT_LE(seconds, 2.0);
  });
  got[2] = groups[2].barrier();  // too late: at once, and the same words
  EXPECT_EQ(got[0].code(), StatusCode::kTimeout);
  EXPECT_THAT(got[0].message(),
              AllOf(HasSubstr("barrier: rank "),
                    HasSubstr("for the start of the call from rank 2 (calls entered 0 of 1)"),
                    HasSubstr("rank 2 has not entered call 1 (it is at call 0)"),
                    HasSubstr("the limit is 0.3 s")));
  expect_all(got, StatusCode::kTimeout, got[0].message());
}

// The other rank has no limit of its own and yet is told: the group is over.
TEST_P(Faults, ACallMayHaveADeadlineOfItsOwn) {
  GroupOptions options = quick_options();
  options.exec_timeout_s = -1;
  std::vector<Group> groups = make(3, options);
  std::vector<Status> got(3);
  on_all(groups, [&](Group& group) {
    EXPECT_TRUE(group.barrier(-1).ok());
    EXPECT_TRUE(group.barrier(30).ok());
    if (group.rank() < 2)
      got[static_cast<std::size_t>(group.rank())] = group.barrier(group.rank() == 0 ? 1e-3 : 0);
  });
  got[2] = groups[2].barrier();
  EXPECT_THAT(got[0].message(), HasSubstr("the limit is 0.001 s (of this call)"));
  expect_all(got, StatusCode::kTimeout, got[0].message());
}

// ... and it ends with the call.
TEST_P(Faults, TheNextCallHasTheDeadlineOfTheGroup) {
  std::vector<Group> groups = make(2);
  on_all(groups, [&](Group& group) {
    EXPECT_TRUE(group.barrier(0.5).ok());
    if (group.rank() == 1) std::this_thread::sleep_for(milliseconds(800));
    EXPECT_TRUE(group.barrier().ok());
  });
}

// Of this rank alone, as long as no other value is set.
TEST_P(Faults, TheDeadlineOfTheGroupMayChange) {
  GroupOptions options = quick_options();
  options.exec_timeout_s = 1e-3;
  std::vector<Group> groups = make(2, options);
  EXPECT_EQ(groups[1].set_exec_timeout(std::nan("")).to_string(),
            "invalid argument: group: exec_timeout_s is not a number");
  ASSERT_TRUE(groups[0].set_exec_timeout(-1).ok());
  ASSERT_TRUE(groups[1].set_exec_timeout(0).ok());  // HCCL_EXEC_TIMEOUT
  on_all(groups, [](Group& group) {
    for (int late = 0; late < 2; ++late) {
      if (group.rank() == late) std::this_thread::sleep_for(milliseconds(100));
      EXPECT_TRUE(group.barrier().ok());
    }
  });
  ASSERT_TRUE(groups[1].set_exec_timeout(0.05).ok());
  EXPECT_THAT(groups[1].barrier().to_string(),
              AllOf(HasSubstr("timeout: barrier: rank 1 waited"),
                    HasSubstr("the limit is 0.05 s (exec_timeout_s, HCCL_EXEC_TIMEOUT)")));
}

TEST_P(Faults, DeadlineNamesTheEndOfTheChain) {
  GroupOptions options = quick_options();
  options.exec_timeout_s = 0.4;
  std::vector<Group> groups = make(4, options);
  std::vector<Status> got(4);
  // 0 waits for 1, which waits for 2, which waits for 3, which does nothing.
  on_all(groups, [&](Group& group) {
    GroupState& state = group.state();
    ASSERT_TRUE(group.barrier().ok());
    ASSERT_TRUE(state.begin_call(CallHeader("chain")).ok());
    ASSERT_TRUE(state.check_peers().ok());
    Status& status = got[static_cast<std::size_t>(state.rank())];
    if (state.rank() < 3)
      status = state.wait(state.rank() + 1, CounterId::kReduced, 5, {"the reduced rows", 4});
    else
      while (status.ok()) std::this_thread::sleep_for(milliseconds(1)), status = state.health();
  });
  EXPECT_THAT(got[0].message(), AllOf(HasSubstr("chain: rank "),
                                      HasSubstr("for the reduced rows of tile 4 from rank "),
                                      HasSubstr("(reduced 0 of 5)"),
                                      HasSubstr("rank 3 is in the call and waits for nobody")));
  expect_all(got, StatusCode::kTimeout, got[0].message());
}

TEST_P(Faults, ForEverIsLongerThanTheDefault) {
  GroupOptions options = quick_options();
  options.exec_timeout_s = -1;
  std::vector<Group> groups = make(2, options);
  on_all(groups, [](Group& group) {
    if (group.rank() == 0) std::this_thread::sleep_for(milliseconds(100));
    EXPECT_TRUE(group.barrier().ok());
  });
}

TEST_P(Faults, PoisonEndsCurrentWaitsAndLaterCalls) {
  std::vector<Group> groups = make(4);
  std::vector<Status> got(4);
  std::atomic<std::int64_t> poisoned_ns{0};
  on_all(groups, [&](Group& group) {
    GroupState& state = group.state();
    Status& status = got[static_cast<std::size_t>(state.rank())];
    if (state.rank() == 3) {
      std::this_thread::sleep_for(milliseconds(60));
      poisoned_ns = std::chrono::steady_clock::now().time_since_epoch().count();
      status = state.poison(Status(StatusCode::kInternal, "op: the cause"));
    } else {
      status = group.barrier();
      EXPECT_LT(std::chrono::steady_clock::now().time_since_epoch().count() - poisoned_ns,
                1'000'000'000);
    }
  });
  expect_all(got, StatusCode::kInternal, "op: the cause");
  on_all(groups, [&](Group& group) {
    EXPECT_EQ(group.barrier().message(), "op: the cause");
    EXPECT_EQ(
        group.state().wait((group.rank() + 1) % 4, CounterId::kCall, 0, {"nothing"}).message(),
        "op: the cause");
    // The first stays.
    EXPECT_EQ(group.state().poison(Status(StatusCode::kTimeout, "later")).message(),
              "op: the cause");
  });
}

TEST_P(Faults, RacingPoisonsHaveOneWinner) {
  for (int round = 0; round < 20; ++round) {
    std::vector<Group> groups = make(4);
    std::vector<Status> got(4);
    on_all(groups, [&](Group& group) {
      got[static_cast<std::size_t>(group.rank())] = group.state().poison(
          Status(StatusCode::kInternal, "cause of " + std::to_string(group.rank())));
    });
    expect_all(got, StatusCode::kInternal, got[0].message());
    EXPECT_THAT(got[0].message(), HasSubstr("cause of "));
  }
}

TEST_P(Faults, OkDoesNotPoison) {
  std::vector<Group> groups = make(2);
  EXPECT_TRUE(groups[0].state().poison(Status()).ok());
  on_all(groups, [](Group& group) { EXPECT_TRUE(group.barrier().ok()); });
}

TEST_P(Faults, LongPoisonIsCutNotLost) {
  std::vector<Group> groups = make(2);
  const std::string text(5000, 'y');
  EXPECT_THAT(groups[1].state().poison(Status(StatusCode::kInternal, text)).message(),
              ::testing::SizeIs(1019));
  EXPECT_EQ(groups[0].health().message(), text.substr(0, 1019));
}

TEST_P(Faults, NewGroupAtOnceAfterPoison) {
  std::vector<Group> old = make(3);
  (void)old[0].state().poison(Status(StatusCode::kInternal, "over"));
  std::vector<Group> fresh = make(3);
  on_all(fresh, [](Group& group) { EXPECT_TRUE(group.barrier().ok()); });
  EXPECT_EQ(old[2].barrier().message(), "over");
}

TEST_P(Faults, LeavingEarlyEndsTheOthersWaits) {
  std::vector<Group> groups = make(3);
  std::vector<Status> got(2);
  on_all(groups, [&](Group& group) {
    EXPECT_TRUE(group.barrier().ok());
    if (group.rank() == 2) {
      std::this_thread::sleep_for(milliseconds(50));
      Group leaving = std::move(group);
      return;
    }
    got[static_cast<std::size_t>(group.rank())] = group.barrier();
  });
  EXPECT_EQ(got[0].code(), StatusCode::kPeerLost);
  EXPECT_THAT(got[0].message(), AllOf(HasSubstr("barrier: rank 2 left the group while rank "),
                                      HasSubstr("for the start of the call from rank 2"),
                                      HasSubstr("Form a new group")));
  expect_all(got, StatusCode::kPeerLost, got[0].message());
}

TEST_P(Faults, LeavingAfterTheCallDisturbsNobody) {
  std::vector<Group> groups = make(3);
  on_all(groups, [](Group& group) {
    GroupState& state = group.state();
    std::memset(state.window(state.rank()), 'a' + state.rank(), 4096);
    ASSERT_TRUE(state.begin_call(CallHeader("op")).ok());
    ASSERT_TRUE(state.check_peers().ok());
    state.publish(CounterId::kPartial, 1);
    if (state.rank() == 0) {  // needs nobody: done
      state.end_call();
      Group leaving = std::move(group);
      return;
    }
    if (state.rank() == 1) {
      std::this_thread::sleep_for(milliseconds(120));
      state.publish(CounterId::kReduced, 1);
    }
    // Rank 2 sleeps through several looks at the departed rank 0, and both still read its memory.
    Status status = state.wait(1 + 2 - state.rank(), CounterId::kPartial, 1, {"a"});
    if (state.rank() == 2) status = state.wait(1, CounterId::kReduced, 1, {"the reduced rows", 0});
    EXPECT_TRUE(status.ok()) << status.to_string();
    status = state.wait(0, CounterId::kPartial, 1, {"the partial sums", 0});
    EXPECT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(static_cast<char>(state.window(0)[4095]), 'a');
    state.end_call();
  });
}

TEST_P(Faults, MovedGroupGoesOn) {
  std::vector<Group> groups = make(2);
  Group moved = std::move(groups[0]);
  groups[0] = std::move(moved);
  on_all(groups, [](Group& group) { EXPECT_TRUE(group.barrier().ok()); });
}

}  // namespace
}  // namespace weft
