// SPDX-License-Identifier: Apache-2.0
// Calls one after the other: plans that take turns, calls with nothing to do, calls that are
// refused, windows that are too small.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "operator_call.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

Context one_thread() { return Context::create({.threads = 1}).value(); }

OperatorCase with_options(std::string_view row, std::string_view shape,
                          std::int64_t super_block_rows, bool int8_communication = false) {
  OperatorCase c = plain_case(row, shape, static_cast<std::uint64_t>(super_block_rows) + row[1]);
  add_options(c, int8_communication);
  c.super_block_rows = super_block_rows;
  return c;
}

// Plans of different operators, shapes and patterns, used in one random order on all ranks, with
// memory that changes from call to call. A slot that is reused too early, or a counter that is off,
// spoils a result or hangs.
TEST(PlanReuse, ManyPlansTakeTurnsOnOneGroup) {
  constexpr int kRanks = 3, kCalls = 400;
  const std::vector<OperatorCase> cases = {
      with_options("A1", "1x64:64x32", 0),       with_options("A2", "40x64,32,48:64,32,48x72", 7),
      with_options("A6", "2x9x40:40x50", 3),     with_options("N1", "100x16:16x640", 33),
      with_options("Q1", "8x32:32x64", 0),       with_options("Q4", "64x64:64x128", 5, true),
      with_options("Q3", "1x32:32x96", 0, true), with_options("W3", "300x8:8x512", 0),
      with_options("R1", "60x24:24x160", 7),     with_options("R4", "3x64:64x40", 0),
      with_options("R2", "600x8:8x256", 0)};
  std::vector<Ranks> wanted, other;  // two sets of memory for each case
  for (const OperatorCase& c : cases) {
    wanted.push_back(make_ranks(c, kRanks));
    other.push_back(make_ranks(c, kRanks));
  }
  std::vector<Group> groups = make_groups("loopback", kRanks, operator_group_options());
  on_all(groups, [&](Group& group) {
    const auto me = static_cast<std::size_t>(group.rank());
    Context context = one_thread();
    std::vector<std::unique_ptr<PlannedCall>> plans;
    std::vector<Bits> bits;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      auto planned = plan(context, group, cases[i], *wanted[i][me]);
      ASSERT_TRUE(planned.ok()) << planned.status().to_string();
      plans.push_back(std::move(planned).value());
      EXPECT_TRUE(plans.back()->run(*wanted[i][me]).ok());
      bits.push_back(wanted[i][me]->bits());
    }
    tools::Random random(99, 0, 0);  // the same on every rank
    for (int call = 0; call < kCalls; ++call) {
      const std::size_t i = random.next() % cases.size();
      RankData& memory = *(random.next() % 2 ? wanted : other)[i][me];
      memory.reset();
      const Status status = plans[i]->run(memory);
      ASSERT_TRUE(status.ok()) << "call " << call << ": " << status.to_string();
      ASSERT_EQ(memory.bits(), bits[i])
          << "call " << call << ", rank " << me << ": " << cases[i].text(kRanks);
    }
  });
  for (std::size_t i = 0; i < cases.size(); ++i)
    for (int rank = 0; rank < kRanks; ++rank) expect_correct(cases[i], wanted[i], rank, 1e5);
}

TEST(EmptyTensors, SucceedOnAllRanksAndTouchNothing) {
  for (const char* row : {"A1", "A5", "R1", "R3"})
    for (const char* shape : {"0x64:64x32", "2x0x64:64x32", "6x64:64x0"}) {
      SCOPED_TRACE(std::string(row) + " " + shape);
      if (row[0] == 'R' && shape[0] == '2') continue;  // it has no batches
      const OperatorCase c = plain_case(row, shape);
      const Ranks data = make_ranks(c, 3);
      std::vector<Group> groups = make_groups("loopback", 3, operator_group_options());
      on_all(groups, [&](Group& group) {
        RankData& mine = *data[static_cast<std::size_t>(group.rank())];
        Context context = one_thread();
        for (int i = 0; i < 3; ++i) {
          const Status status = call(context, group, c, mine);
          EXPECT_TRUE(status.ok()) << status.to_string();
        }
        EXPECT_TRUE(mine.guards_intact() && mine.outputs_untouched());
        // The group goes on with calls that have something to do.
        const OperatorCase next = plain_case(row, "3x64:64x32");
        const RankData full(next, group.rank(), group.ranks());
        EXPECT_TRUE(call(context, group, next, full).ok());
      });
    }
}

TEST(Windows, SmallOnesAreEnoughOrRefusedAndNeverOverrun) {
  const std::pair<const char*, bool> rows[] = {
      {"A1", false}, {"N1", false}, {"Q4", true}, {"R1", false}};
  for (const auto& [row, int8_communication] : rows)
    for (const std::int64_t kib : {8, 1 << 10, 12 << 10, 20 << 10})
      for (const int ranks : {1, 2}) {
        // 6 MiB of partial sums of 16 bits.
        OperatorCase c = plain_case(row, "3000x4:4x1024");
        if (int8_communication) add_options(c, true);
        SCOPED_TRACE(c.text(ranks) + ", KiB " + std::to_string(kib));
        GroupOptions options = operator_group_options();
        options.window_bytes = kib << 10;
        std::vector<Group> groups = make_groups("loopback", ranks, options);
        const Ranks data = make_ranks(c, ranks);
        on_all(groups, [&](Group& group) {
          RankData& mine = *data[static_cast<std::size_t>(group.rank())];
          Context context = one_thread();
          for (int i = 0; i < 2; ++i) {
            const Status status = call(context, group, c, mine);
            EXPECT_EQ(status.ok(), kib > 8) << status.to_string();
            if (status.ok()) continue;
            EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
            EXPECT_THAT(status.message(), HasSubstr("HCCL_BUFFSIZE"));
            EXPECT_TRUE(mine.outputs_untouched());
          }
        });
        if (kib > 8) expect_correct(c, data, ranks - 1, 1e5);
      }
}

/// plan() and run() of an operator, refused by each rank on its own.
template <typename Args>
void expect_refusals_that_change_nothing(std::string_view row) {
  using Op = typename Family<Args>::Op;
  OperatorCase c = plain_case(row, "6x64:64x32");
  add_options(c);
  SCOPED_TRACE(c.text(2));
  const Ranks data = make_ranks(c, 2);
  std::vector<Group> groups = make_groups("loopback", 2, operator_group_options());
  on_all(groups, [&](Group& group) {
    RankData& mine = *data[static_cast<std::size_t>(group.rank())];
    Context context = one_thread();
    Args bad = mine.args<Args>();
    bad.x1 = {};
    EXPECT_EQ(Op::plan(context, group, bad).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(Op::plan(context, group, mine.args<Args>(), {.super_block_rows = -1}).status().code(),
              StatusCode::kInvalidArgument);
    Op planned = Op::plan(context, group, mine.args<Args>()).value();
    const auto refused = [&](auto change) {
      Args args = mine.args<Args>();
      change(args);
      const Status status = planned.run(args);
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.to_string();
      return status.message();
    };
    for (std::size_t i = 0; i < c.op().traits().outputs.size(); ++i) {
      const auto output = [i](Args& args) -> TensorRef& { return *Family<Args>::outputs(args)[i]; };
      EXPECT_THAT(refused([&](Args& args) {
                    output(args) = output(args).with_data(const_cast<void*>(args.bias.data()));
                  }),
                  HasSubstr("overlaps bias; give it memory of its own"));
      EXPECT_THAT(refused([&](Args& args) { output(args) = output(args).with_data(nullptr); }),
                  HasSubstr("has no data (null pointer)"));
    }
    EXPECT_THAT(refused([](Args& args) { args.x1 = args.x1.with_data(nullptr); }),
                HasSubstr("x1 has no data (null pointer)"));
    EXPECT_THAT(refused([](Args& args) { args.bias = {}; }), HasSubstr("plan again"));
    EXPECT_TRUE(mine.guards_intact() && mine.outputs_untouched());
    EXPECT_TRUE(group.health().ok());
    EXPECT_TRUE(planned.run(mine.args<Args>()).ok());
  });
  for (int rank : {0, 1}) expect_correct(c, data, rank, 1e6);
}

TEST(Refusal, LeavesOutputsAndTheGroupAlone) {
  expect_refusals_that_change_nothing<MatmulAllReduceAddRmsNormArgs>("A1");
  expect_refusals_that_change_nothing<MatmulAllReduceArgs>("N1");
  expect_refusals_that_change_nothing<MatmulAllReduceArgs>("Q5");
  expect_refusals_that_change_nothing<MatmulReduceScatterArgs>("R1");
}

}  // namespace
}  // namespace weft::testing
