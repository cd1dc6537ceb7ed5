// SPDX-License-Identifier: Apache-2.0
// Dispatch and combine whose ranks disagree, or of which one is killed, stopped, absent or gone.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <climits>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "moe_calls.h"
#include "processes.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr int kRanks = 3;

GroupOptions options_of(double exec_timeout_s) {
  GroupOptions options = quick_options();
  options.window_bytes = 64 << 10;
  options.exec_timeout_s = exec_timeout_s;
  return options;
}

/// Rows all at once, or in many pieces.
MoeCase make(bool pieces) {
  MoeCase c = {.ranks = kRanks, .tokens = {4}, .h = 32, .k = 2, .experts = {.moe_expert_num = 6}};
  if (pieces) c.tokens = {90, 20, 60}, c.h = 300;
  return c;
}

void route_by_reference(MoeData& data) {
  for (int r = 0; r < data.fields.ranks; ++r) data.route_by_reference(r);
}

// Whether the victim fails while it dispatches, combines, or does both in turn.
enum class Calls { kDispatch, kCombine, kBoth };

/// Calls until the group fails; says "running" after some calls. The text is what ended it.
std::string run_until_it_fails(const Rank& rank, Calls calls, bool pieces, double timeout_s) {
  Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(timeout_s)).value();
  Context context = context_with(1);
  MoeData data(make(pieces));
  route_by_reference(data);
  auto first = MoeDispatch::plan(context, group, data.dispatch(rank.rank)).value();
  auto second = MoeCombine::plan(context, group, data.combine(rank.rank)).value();
  for (int call = 0;; ++call) {
    Status status;
    if (calls != Calls::kCombine) status = first.run(data.dispatch(rank.rank));
    if (status.ok() && calls != Calls::kDispatch) status = second.run(data.combine(rank.rank));
    if (call == 20) rank.tell("running");
    if (status.ok()) continue;
    EXPECT_EQ(first.run(data.dispatch(rank.rank)).to_string(), status.to_string());
    EXPECT_EQ(second.run(data.combine(rank.rank)).to_string(), status.to_string());
    EXPECT_EQ(group.health().to_string(), status.to_string());
    return status.to_string();
  }
}

class MoeDrill : public ::testing::TestWithParam<std::tuple<Calls, bool>> {
 protected:
  static std::string run_until_it_fails(const Rank& rank, double timeout_s) {
    return testing::run_until_it_fails(rank, std::get<0>(GetParam()), std::get<1>(GetParam()),
                                       timeout_s);
  }
};

TEST_P(MoeDrill, KilledRankIsLostWithinASecond) {
  Processes processes(kRanks, [&](Rank& rank) { return run_until_it_fails(rank, 60); });
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(processes.await(rank, "running"));
  const std::int64_t killed_ns = processes.kill(1);
  EXPECT_THAT(
      expect_same_end(processes, kRanks, 1, killed_ns, kSecond),
      AllOf(StartsWith("peer lost: moe_"), HasSubstr("rank 1 is gone (its process ended)")));
}

TEST_P(MoeDrill, StoppedRankEndsAtTheDeadline) {
  Processes processes(kRanks, [&](Rank& rank) { return run_until_it_fails(rank, 0.7); });
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(processes.await(rank, "running"));
  const std::int64_t stopped_ns = processes.kill(1, SIGSTOP);
  EXPECT_THAT(
      expect_same_end(processes, kRanks, 1, stopped_ns, kSecond * 5 / 2),
      AllOf(StartsWith("timeout: moe_"), HasSubstr("rank 1 "), HasSubstr("the limit is 0.7 s")));
}

TEST_P(MoeDrill, RankThatNeverCallsEndsAtTheDeadline) {
  Processes processes(kRanks, [&](Rank& rank) {
    if (rank.rank != 2) return run_until_it_fails(rank, 0.7);
    Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(0.7)).value();
    rank.tell("joined");
    rank.await_go();
    return group.health().to_string();
  });
  ASSERT_TRUE(processes.await(2, "joined"));
  const std::string text = expect_same_end(processes, kRanks, 2, monotonic_ns(), kSecond * 5 / 2);
  EXPECT_THAT(text, AllOf(StartsWith("timeout: moe_"),
                          HasSubstr("rank 2 has not entered call 1 (it is at call 0)")));
  processes.go(2);
  EXPECT_EQ(processes.finish(2).text, text);
}

TEST_P(MoeDrill, RankThatLeavesEarlyIsLost) {
  Processes processes(kRanks, [&](Rank& rank) {
    if (rank.rank != 2) return run_until_it_fails(rank, 60);
    {
      Group group = Group::join(rank.id, rank.rank, rank.ranks, options_of(60)).value();
      Context context = context_with(1);
      MoeData data(make(std::get<1>(GetParam())));
      route_by_reference(data);
      if (std::get<0>(GetParam()) == Calls::kCombine)
        expect_ok(moe_combine(context, group, data.combine(2)));
      else
        expect_ok(moe_dispatch(context, group, data.dispatch(2)));
    }
    rank.tell("left");
    rank.await_go();
    return std::string();
  });
  ASSERT_TRUE(processes.await(2, "left"));
  EXPECT_THAT(expect_same_end(processes, kRanks, 2, monotonic_ns(), kSecond),
              AllOf(StartsWith("peer lost: moe_"), HasSubstr("rank 2 left the group")));
  processes.go(2);
}

std::string name_of(const ::testing::TestParamInfo<MoeDrill::ParamType>& test) {
  constexpr const char* kNames[] = {"dispatch", "combine", "both"};
  return std::string(kNames[static_cast<int>(std::get<0>(test.param))]) +
         (std::get<1>(test.param) ? "_pieces" : "_at_once");
}
INSTANTIATE_TEST_SUITE_P(All, MoeDrill,
                         ::testing::Combine(::testing::Values(Calls::kDispatch, Calls::kCombine,
                                                              Calls::kBoth),
                                            ::testing::Bool()),
                         name_of);

// With TP the pair may fail while the group of experts is well.
TEST(MoePairFaults, KilledRankIsLostByThePair) {
  const UniqueId ids[] = {UniqueId::create().value(), UniqueId::create().value(),
                          UniqueId::create().value(), UniqueId::create().value()};
  MoeCase c = {
      .ranks = 2, .tp = true, .tokens = {4}, .h = 32, .k = 1, .experts = {.moe_expert_num = 2}};
  Processes processes(4, [&](Rank& rank) {
    const int r = rank.rank % 2, q = rank.rank / 2;
    Group experts = Group::join(ids[q], r, 2, options_of(60)).value();
    Group pair = Group::join(ids[2 + r], q, 2, options_of(60)).value();
    Context context = context_with(1);
    const MoeData data(c);
    auto plan =
        MoeDispatch::plan(context, experts, data.dispatch(r, q), {.tp_group = &pair}).value();
    for (int call = 0;; ++call) {
      const Status status = plan.run(data.dispatch(r, q));
      if (call == 20) rank.tell("running");
      if (!status.ok()) return status.to_string();
    }
  });
  for (int rank = 0; rank < 4; ++rank) ASSERT_TRUE(processes.await(rank, "running"));
  const std::int64_t killed_ns = processes.kill(0);
  for (const int neighbour : {1, 2}) {  // of its group, of its pair
    const Outcome outcome = processes.finish(neighbour);
    EXPECT_TRUE(outcome.clean());
    EXPECT_LT(outcome.finished_ns - killed_ns, 2 * kSecond);
    EXPECT_THAT(outcome.text, AllOf(StartsWith("peer lost: "), HasSubstr("rank 0 ")));
  }
  const Outcome last = processes.finish(3);  // its neighbours leave
  EXPECT_TRUE(last.clean());
  EXPECT_THAT(last.text, StartsWith("peer lost: "));
}

struct Difference {
  const char* name;
  std::function<void(MoeCase&)> on_rank_1;
  const char* message;  ///< after "mismatch: operator: "
};

std::vector<Difference> differences() {
  return {
      {"hidden", [](MoeCase& c) { c.h = 40; }, "hidden size is 32 on rank 0 but 40 on rank 1"},
      {"k", [](MoeCase& c) { c.k = 3; }, "experts per token is 2 on rank 0 but 3 on rank 1"},
      {"experts", [](MoeCase& c) { c.experts.moe_expert_num = 9; },
       "moe_expert_num is 6 on rank 0 but 9 on rank 1"},
      {"shared",
       [](MoeCase& c) { c.experts.shared_expert_num = c.experts.shared_expert_rank_num = 1; },
       "shared_expert_num is 0 on rank 0 but 1 on rank 1"},
      {"zero", [](MoeCase& c) { c.experts.zero_expert_num = 1; },
       "zero_expert_num is 0 on rank 0 but 1 on rank 1"},
      {"copy", [](MoeCase& c) { c.experts.copy_expert_num = 1; },
       "copy_expert_num is 0 on rank 0 but 1 on rank 1"},
      {"const", [](MoeCase& c) { c.experts.const_expert_num = 1; },
       "const_expert_num is 0 on rank 0 but 1 on rank 1"},
      {"dtype", [](MoeCase& c) { c.type = DType::kFloat16; },
       "dtype is bfloat16 on rank 0 but float16 on rank 1"},
  };
}

/// Of a rank whose routes are there.
void expect_nothing_written(const MoeData& data, int rank) {
  const MoeRank& mine = data.at(rank);
  for (const GuardedTensor* t : {&mine.expand_x, &mine.dynamic_scales, &mine.token_nums,
                                 &mine.combined, &mine.y, &mine.rstd})
    EXPECT_TRUE(t->unchanged());
}

/// What all ranks say when rank 1 has another case; nothing was written.
void expect_mismatch(const MoeCase& here, const MoeCase& there, const std::string& op,
                     const std::function<Status(Context&, MoeGroups&, const MoeData&, int)>& call,
                     const std::string& message) {
  SCOPED_TRACE(op + ": " + message);
  MoeGroups groups(kRanks, false, options_of(20));
  std::vector<std::string> texts(kRanks);
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    MoeData data(r == 1 ? there : here);
    route_by_reference(data);
    const Status status = call(context, groups, data, r);
    EXPECT_EQ(status.code(), StatusCode::kMismatch) << status.to_string();
    texts[static_cast<std::size_t>(r)] = status.message();
    expect_nothing_written(data, r);
    EXPECT_EQ(groups.experts(r).barrier().to_string(), status.to_string());
  });
  EXPECT_THAT(texts[0], AllOf(StartsWith(op), HasSubstr(message)));
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
}

Status call_dispatch(Context& context, MoeGroups& groups, const MoeData& data, int r) {
  return dispatch(context, groups, data, r);
}
Status call_combine(Context& context, MoeGroups& groups, const MoeData& data, int r) {
  return combine(context, groups, data, r);
}
Status call_norm(Context& context, MoeGroups& groups, const MoeData& data, int r) {
  return norm(context, groups, data, r);
}

TEST(MoeMismatch, SaysWhatDiffersOnAllRanksAndWritesNothing) {
  for (const bool pieces : {false, true})
    for (const Difference& difference : differences()) {
      MoeCase here = make(pieces);
      MoeCase there = here;
      difference.on_rank_1(there);
      std::string message = difference.message;
      if (pieces && message.starts_with("hidden")) message = "hidden size is 300 on rank 0 but 40";
      expect_mismatch(here, there, "moe_dispatch: ", call_dispatch, message);
      expect_mismatch(here, there, "moe_combine: ", call_combine, message);
      expect_mismatch(here, there, "moe_combine_add_rmsnorm: ", call_norm, message);
    }
  MoeCase here = make(false), there = here;
  there.int8_rows = true;
  expect_mismatch(here, there, "moe_dispatch: ", call_dispatch,
                  "expand_x dtype is bfloat16 on rank 0 but int8 on rank 1");
  there = here;
  there.int8_communication = true;
  expect_mismatch(here, there, "moe_combine: ", call_combine,
                  "communication is bfloat16 on rank 0 but int8 on rank 1");
  here.experts.shared_expert_num = here.experts.shared_expert_rank_num = 1;
  there = here;
  there.experts.shared_tokens = SharedTokens::kBySlice;
  expect_mismatch(here, there, "moe_dispatch: ", call_dispatch,
                  "shared_tokens is by source on rank 0 but by slice on rank 1");
}

TEST(MoeMismatch, NormEps) {
  MoeGroups groups(kRanks, false, options_of(20));
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    MoeData data(make(false));
    route_by_reference(data);
    MoeCombineAddRmsNormArgs args = data.norm(r);
    if (r == 1) args.norm_eps = 1e-5f;
    const Status status = moe_combine_add_rmsnorm(context, groups.experts(r), args);
    EXPECT_EQ(status.code(), StatusCode::kMismatch) << status.to_string();
    EXPECT_THAT(status.message(), AllOf(HasSubstr("1e-06"), HasSubstr("1e-05")));
    expect_nothing_written(data, r);
  });
}

TEST(MoeMismatch, AnotherOperator) {
  using Call = std::function<Status(Context&, MoeGroups&, const MoeData&, int)>;
  const std::pair<const char*, Call> calls[] = {
      {"moe_dispatch", call_dispatch},
      {"moe_combine", call_combine},
      {"moe_combine_add_rmsnorm", call_norm},
      {"barrier", [](Context&, MoeGroups& groups, const MoeData&, int r) {
         return groups.experts(r).barrier();
       }}};
  for (const auto& [name, here] : calls)
    for (const auto& [other, there] : calls) {
      if (name == other) continue;
      const auto both = [&here = here, &there = there](Context& context, MoeGroups& groups,
                                                       const MoeData& data, int r) {
        return r == 1 ? there(context, groups, data, r) : here(context, groups, data, r);
      };
      const std::string text = fmt::format("rank 0 called {} but rank 1 called {}", name, other);
      expect_mismatch(make(false), make(false), "", both, text);
    }
}

// Counts and routes that no dispatch writes: nothing is read or written beyond the operands. What
// the rank itself can see all ranks say at once; of what only the rank of the token can see, ranks
// that have what they wait for learn in their next call.
struct Damage {
  const char* name;
  bool seen_at_once;
  std::function<void(std::int32_t* counts, std::int32_t* triples)> on_rank_1;
};

std::vector<Damage> damages() {
  const auto count = [](std::int32_t value) {
    return [value](std::int32_t* counts, std::int32_t*) { counts[5] = value; };
  };
  const auto triple = [](int i, std::int32_t value) {
    return [i, value](std::int32_t*, std::int32_t* triples) { triples[i] = value; };
  };
  return {{"negative count", true, count(-1)},
          {"more rows than expand_x", true, count(1000)},
          {"largest count", true, count(INT_MAX)},
          {"rank -1", true, triple(0, -1)},
          {"rank behind the last", true, triple(0, kRanks)},
          {"token -1", true, triple(1, -1)},
          {"slot -1", true, triple(2, -1)},
          {"slot behind the last", true, triple(2, 2)},
          {"token behind the last", false, triple(1, 300)},
          {"largest token", false, triple(1, INT_MAX)},
          {"the same slot twice", false,
           [](std::int32_t*, std::int32_t* triples) { std::memcpy(triples + 3, triples, 12); }},
          {"a row less than its tokens wait for", false,
           [](std::int32_t* counts, std::int32_t*) { --counts[5]; }}};
}

void expect_refused(const Damage& damage, bool pieces) {
  SCOPED_TRACE(fmt::format("{}{}", damage.name, pieces ? ", in pieces" : ""));
  MoeData data(make(pieces));
  route_by_reference(data);
  MoeRank& damaged = data.at(1);
  damage.on_rank_1(static_cast<std::int32_t*>(damaged.ep_counts.writable().data()),
                   static_cast<std::int32_t*>(damaged.assist.writable().data()));
  MoeGroups groups(kRanks, false, options_of(20));
  std::vector<Status> statuses(kRanks), later(kRanks);
  groups.on_all([&](int r, int) {
    Context context = context_with(1);
    const auto me = static_cast<std::size_t>(r);
    statuses[me] = combine(context, groups, data, r);
    later[me] = groups.experts(r).barrier();
  });
  EXPECT_EQ(later[0].code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(later[0].message(), AllOf(StartsWith("moe_combine: "), HasSubstr("rank ")));
  int refused = 0;
  for (std::size_t r = 0; r < kRanks; ++r) {
    EXPECT_EQ(later[r].to_string(), later[0].to_string());
    EXPECT_TRUE(data.at(static_cast<int>(r)).combined.guards_intact());
    if (statuses[r].ok()) continue;
    ++refused;
    EXPECT_EQ(statuses[r].to_string(), later[0].to_string());
  }
  EXPECT_GE(refused, damage.seen_at_once ? kRanks : 1);
}

TEST(MoeRoutes, ThatNoDispatchWrites) {
  for (const Damage& damage : damages())
    for (const bool pieces : {false, true}) expect_refused(damage, pieces);
}

}  // namespace
}  // namespace weft::testing
