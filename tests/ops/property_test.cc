// SPDX-License-Identifier: Apache-2.0
// What must never change the bits of a result, and what must never be written.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "operator_case.h"
#include "processes.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

using Bits = std::vector<std::uint16_t>;

struct HowToRun {
  std::int64_t super_block_rows = 0;
  int threads = 1;
  std::string transport = "loopback";
  bool packed = false;
};

// Bits of y and norm_out of every rank.
std::vector<Bits> run_case(const OperatorCase& c, int ranks, const HowToRun& how) {
  std::vector<Group> groups = make_groups(how.transport, ranks, operator_group_options());
  const Ranks data = make_ranks(c, ranks);
  std::vector<Bits> bits(data.size());
  on_all(groups, [&](Group& group) {
    RankData& mine = *data[static_cast<std::size_t>(group.rank())];
    Context context = Context::create({.threads = how.threads}).value();
    MatmulAllReduceAddRmsNormArgs args = mine.args();
    std::optional<PackedWeight> weight;
    if (how.packed) {
      weight.emplace(PackedWeight::pack(context, args.x2).value());
      args.packed_x2 = &*weight;
      args.x2 = {};
    }
    const Status status = matmul_allreduce_add_rmsnorm(context, group, args,
                                                       {.super_block_rows = how.super_block_rows});
    EXPECT_TRUE(status.ok()) << status.to_string();
    EXPECT_TRUE(mine.guards_intact());
    bits[static_cast<std::size_t>(group.rank())] = mine.bits();
  });
  return bits;
}

class BitsTest : public ::testing::TestWithParam<const char*> {
 protected:
  // 37 rows: super-blocks and tiles of uneven size.
  OperatorCase small() const {
    OperatorCase c = plain_case(GetParam(), "37x150,70,96:150,70,96x80", 77);
    c.operands.with = {tools::OperandId::kBias, tools::OperandId::kAntiquantOffset};
    return c;
  }
  bool can_be_packed() const {
    return small().operands.row->scenario() != ops::Scenario::kWeightQuant;
  }
};

TEST_P(BitsTest, DoNotDependOnHowTheCallIsRun) {
  const OperatorCase c = small();
  const std::vector<Bits> want = run_case(c, 3, {});
  for (std::int64_t rows : {1, 2, 3, 7, 12, 36, 37, 1000})
    EXPECT_EQ(run_case(c, 3, {.super_block_rows = rows}), want) << "super-block rows " << rows;
  for (int threads : {2, 3}) {
    EXPECT_EQ(run_case(c, 3, {.threads = threads}), want) << threads << " threads";
    EXPECT_EQ(run_case(c, 3, {.super_block_rows = 12, .threads = threads}), want)
        << threads << " threads, ring";
  }
  EXPECT_EQ(run_case(c, 3, {.transport = "shm"}), want);
  EXPECT_EQ(run_case(c, 3, {.super_block_rows = 5, .transport = "shm"}), want);
  if (can_be_packed()) {
    EXPECT_EQ(run_case(c, 3, {.packed = true}), want);
    EXPECT_EQ(run_case(c, 3, {.super_block_rows = 9, .packed = true}), want);
  }
}

TEST_P(BitsTest, AreTheSameOnAllRanksWithEqualResidualAndGamma) {
  OperatorCase c = small();
  c.operands.equal_tail = true;
  for (std::int64_t rows : {0, 8})
    for (const Bits& bits : run_case(c, 3, {.super_block_rows = rows}))
      EXPECT_EQ(bits, run_case(c, 3, {})[0]);
}

TEST_P(BitsTest, AreTheSameInProcesses) {
  const OperatorCase c = small();
  const std::vector<Bits> want = run_case(c, 3, {});
  run_ranks(3, [&](Rank& rank) {
    auto group = Group::join(rank.id, rank.rank, rank.ranks, operator_group_options());
    auto context = Context::create({.threads = 1});
    for (std::int64_t rows : {0, 10}) {
      RankData mine(c, rank.rank, rank.ranks);
      const Status status =
          matmul_allreduce_add_rmsnorm(*context, *group, mine.args(), {.super_block_rows = rows});
      EXPECT_TRUE(status.ok()) << status.to_string();
      EXPECT_EQ(mine.bits(), want[static_cast<std::size_t>(rank.rank)]);
    }
    return std::string();
  });
}

TEST_P(BitsTest, OfARowDoNotDependOnHowManyRowsThereAre) {
  constexpr std::int64_t kMostRows = 512, kN = 96;
  const OperatorCase c = plain_case(GetParam(), "512x200,64:200,64x96", 78);
  const Ranks all = make_ranks(c, 2);
  std::vector<Group> groups = make_groups("loopback", 2, operator_group_options());
  on_all(groups, [&](Group& group) {
    RankData& mine = *all[static_cast<std::size_t>(group.rank())];
    Context context = Context::create({.threads = 1}).value();
    // The first m rows of the same memory.
    const auto first_rows = [&](std::int64_t m) {
      MatmulAllReduceAddRmsNormArgs args = mine.args();
      args.x1 = {args.x1.data(), args.x1.dtype(), {m, args.x1.dim(1)}};
      args.residual = {args.residual.data(), args.residual.dtype(), {1, m, kN}};
      args.y = {args.y.data(), args.y.dtype(), {1, m, kN}};
      args.norm_out = {args.norm_out.data(), args.norm_out.dtype(), {1, m, kN}};
      return args;
    };
    EXPECT_TRUE(matmul_allreduce_add_rmsnorm(context, group, first_rows(kMostRows)).ok());
    const Bits y = mine.y().bits(), norm_out = mine.norm_out().bits();
    for (std::int64_t m : {1, 2, 3, 16, 33, 100}) {
      mine.reset();
      EXPECT_TRUE(matmul_allreduce_add_rmsnorm(context, group, first_rows(m)).ok());
      const Bits got_y = mine.y().bits(), got_norm = mine.norm_out().bits();
      EXPECT_TRUE(std::equal(y.begin(), y.begin() + m * kN, got_y.begin())) << m << " rows";
      EXPECT_TRUE(std::equal(norm_out.begin(), norm_out.begin() + m * kN, got_norm.begin()))
          << m << " rows";
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Rows, BitsTest,
                         ::testing::Values("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9"),
                         [](const auto& test) { return std::string(test.param); });

// Plans of different shapes and patterns, used in one random order on all ranks, with memory that
// changes from call to call. A slot that is reused too early, or a counter that is off, spoils a
// result or hangs.
TEST(PlanReuse, ManyPlansTakeTurnsOnOneGroup) {
  constexpr int kRanks = 3, kCalls = 300;
  const std::vector<OperatorCase> cases = {
      plain_case("A1", "1x64:64x32", 1),   plain_case("A2", "40x64,32,48:64,32,48x72", 2),
      plain_case("A3", "8x32:32x64", 3),   plain_case("A1", "100x16:16x640", 4),
      plain_case("A6", "2x9x40:40x50", 5), plain_case("A2", "300x8:8x512", 6),
      plain_case("A5", "64x64:64x128", 7)};
  const std::int64_t super_block_rows[] = {0, 7, 0, 33, 3, 0, 1};
  std::vector<Ranks> wanted, other;  // two sets of memory for each case
  for (const OperatorCase& c : cases) {
    wanted.push_back(make_ranks(c, kRanks));
    other.push_back(make_ranks(c, kRanks));
  }
  std::vector<Group> groups = make_groups("loopback", kRanks, operator_group_options());
  on_all(groups, [&](Group& group) {
    const auto me = static_cast<std::size_t>(group.rank());
    Context context = Context::create({.threads = 1}).value();
    std::vector<MatmulAllReduceAddRmsNorm> plans;
    std::vector<Bits> bits;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      auto plan = MatmulAllReduceAddRmsNorm::plan(context, group, wanted[i][me]->args(),
                                                  {.super_block_rows = super_block_rows[i]});
      ASSERT_TRUE(plan.ok()) << plan.status().to_string();
      plans.push_back(std::move(plan).value());
      EXPECT_TRUE(plans.back().run(wanted[i][me]->args()).ok());
      bits.push_back(wanted[i][me]->bits());
    }
    tools::Random random(99, 0, 0);  // the same on every rank
    for (int call = 0; call < kCalls; ++call) {
      const std::size_t i = random.next() % cases.size();
      RankData& memory = *(random.next() % 2 ? wanted : other)[i][me];
      memory.reset();
      const Status status = plans[i].run(memory.args());
      ASSERT_TRUE(status.ok()) << "call " << call << ": " << status.to_string();
      ASSERT_EQ(memory.bits(), bits[i])
          << "call " << call << ", rank " << me << ": " << cases[i].text(kRanks);
    }
  });
  for (std::size_t i = 0; i < cases.size(); ++i)
    for (int rank = 0; rank < kRanks; ++rank) expect_correct(cases[i], wanted[i], rank, 1e5);
}

TEST(EmptyTensors, SucceedOnAllRanksAndTouchNothing) {
  for (const char* shape : {"0x64:64x32", "2x0x64:64x32", "4x64:64x0"}) {
    SCOPED_TRACE(shape);
    const OperatorCase c = plain_case("A1", shape);
    const Ranks data = make_ranks(c, 3);
    std::vector<Group> groups = make_groups("loopback", 3, operator_group_options());
    on_all(groups, [&](Group& group) {
      RankData& mine = *data[static_cast<std::size_t>(group.rank())];
      Context context = Context::create({.threads = 1}).value();
      for (int i = 0; i < 3; ++i) {
        const Status status = matmul_allreduce_add_rmsnorm(context, group, mine.args());
        EXPECT_TRUE(status.ok()) << status.to_string();
      }
      EXPECT_TRUE(mine.guards_intact() && mine.outputs_untouched());
      // The group goes on with calls that have something to do.
      const OperatorCase next = plain_case("A1", "3x64:64x32");
      RankData full(next, group.rank(), group.ranks());
      EXPECT_TRUE(matmul_allreduce_add_rmsnorm(context, group, full.args()).ok());
    });
  }
}

TEST(Windows, SmallOnesAreEnoughOrRefusedAndNeverOverrun) {
  const OperatorCase c = plain_case("A1", "3000x4:4x1024");  // 6 MiB of partial sums
  for (const std::int64_t mib : {1, 8, 9, 12}) {
    for (const int ranks : {1, 2}) {
      SCOPED_TRACE(std::to_string(mib) + " MiB, ranks " + std::to_string(ranks));
      GroupOptions options = operator_group_options();
      options.window_bytes = mib << 20;
      std::vector<Group> groups = make_groups("loopback", ranks, options);
      const Ranks data = make_ranks(c, ranks);
      on_all(groups, [&](Group& group) {
        RankData& mine = *data[static_cast<std::size_t>(group.rank())];
        Context context = Context::create({.threads = 1}).value();
        for (int i = 0; i < 2; ++i) {
          const Status status = matmul_allreduce_add_rmsnorm(context, group, mine.args());
          EXPECT_EQ(status.ok(), mib > 8) << status.to_string();
          if (mib > 8) continue;
          EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
          EXPECT_NE(status.message().find("HCCL_BUFFSIZE"), std::string::npos);
          EXPECT_TRUE(mine.outputs_untouched());
        }
      });
      if (mib > 8) expect_correct(c, data, 0, 1e5);
    }
  }
}

TEST(Refusal, LeavesOutputsAndTheGroupAlone) {
  const OperatorCase c = plain_case("A1", "5x64:64x32");
  const Ranks data = make_ranks(c, 2);
  std::vector<Group> groups = make_groups("loopback", 2, operator_group_options());
  on_all(groups, [&](Group& group) {
    RankData& mine = *data[static_cast<std::size_t>(group.rank())];
    Context context = Context::create({.threads = 1}).value();
    MatmulAllReduceAddRmsNormArgs bad = mine.args();
    bad.epsilon = 2;
    EXPECT_EQ(matmul_allreduce_add_rmsnorm(context, group, bad).code(),
              StatusCode::kInvalidArgument);
    auto plan = MatmulAllReduceAddRmsNorm::plan(context, group, mine.args()).value();
    bad = mine.args();
    bad.norm_out = bad.y;
    EXPECT_EQ(plan.run(bad).code(), StatusCode::kInvalidArgument);
    bad = mine.args();
    bad.gamma = bad.gamma.with_data(nullptr);
    EXPECT_EQ(plan.run(bad).code(), StatusCode::kInvalidArgument);
    EXPECT_TRUE(mine.guards_intact() && mine.outputs_untouched());
    EXPECT_TRUE(group.health().ok());
    EXPECT_TRUE(plan.run(mine.args()).ok());
  });
  expect_correct(c, data, 0, 1e6);
  expect_correct(c, data, 1, 1e6);
}

}  // namespace
}  // namespace weft::testing
