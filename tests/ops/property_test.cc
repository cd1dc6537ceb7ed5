// SPDX-License-Identifier: Apache-2.0
// What must never change the bits of a result.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "operator_call.h"
#include "processes.h"
#include "thread_ranks.h"
#include "used_context.h"

namespace weft::testing {
namespace {

struct Run {
  std::int64_t super_block_rows = 0;
  int threads = 1;
  std::string transport = "loopback";
  bool used_context = false;
  WeightForm weight = WeightForm::kStrided;
};

/// Calls on all ranks; a cap on instructions the machine lacks is none.
void call_on_all(const OperatorCase& c, const Ranks& data, const Run& how = {},
                 const std::string& isa = "") {
  std::vector<Group> groups =
      make_groups(how.transport, static_cast<int>(data.size()), operator_group_options());
  on_all(groups, [&](Group& group) {
    RankData& mine = *data[static_cast<std::size_t>(group.rank())];
    auto context = Context::create({.threads = how.threads, .isa = isa});
    if (!context.ok()) context = Context::create({.threads = how.threads});
    if (how.used_context) context = used_context({.threads = how.threads});
    const Status status = call(*context, group, c, mine);
    EXPECT_TRUE(status.ok()) << status.to_string();
    EXPECT_TRUE(mine.guards_intact());
  });
}

std::vector<Bits> run_case(OperatorCase c, int ranks, const Run& how = {}) {
  c.super_block_rows = how.super_block_rows;
  c.layout.weight = how.weight;
  const Ranks data = make_ranks(c, ranks);
  call_on_all(c, data, how);
  std::vector<Bits> bits;
  for (const auto& each : data) bits.push_back(each->bits());
  return bits;
}

/// All rows of an output: of the ranks one after the other, or of rank 0, which has them all.
Bits all_rows(const OperatorCase& c, const Ranks& data, std::size_t output) {
  Bits rows;
  const bool scattered = &c.op() == &tools::matmul_reduce_scatter_operator();
  for (std::size_t rank = 0; rank < (scattered ? data.size() : 1); ++rank) {
    const Bits bits = data[rank]->output(output).bits();
    rows.insert(rows.end(), bits.begin(), bits.end());
  }
  return rows;
}

/// A row of dtypes, and whether its partials travel as int8.
using Row = std::pair<std::string, bool>;

std::vector<Row> all_rows_of_dtypes() {
  std::vector<Row> rows;
  for (const tools::Operator* op : tools::operators()) {
    if (!op->traits().matmul) continue;
    for (const tools::DTypeRow& row : op->traits().rows) {
      rows.emplace_back(row.name, false);
      if (can_communicate_int8(row.name)) rows.emplace_back(row.name, true);
    }
  }
  return rows;
}

std::string name_of(const ::testing::TestParamInfo<Row>& test) {
  return test.param.first + (test.param.second ? "_int8" : "");
}

class BitsTest : public ::testing::TestWithParam<Row> {
 protected:
  static OperatorCase make(const std::string& shape) {
    OperatorCase c = plain_case(GetParam().first, shape, 77);
    add_options(c, GetParam().second);
    return c;
  }
  // 39 rows: super-blocks and tiles of uneven size, yet a multiple of three ranks.
  static OperatorCase small() { return make("39x150,70,96:150,70,96x80"); }
};

TEST_P(BitsTest, DoNotDependOnHowTheCallIsRun) {
  const OperatorCase c = small();
  const std::vector<Bits> want = run_case(c, 3);
  for (std::int64_t rows : {1, 3, 12, 38, 1000})
    EXPECT_EQ(run_case(c, 3, {.super_block_rows = rows}), want) << "super-block rows " << rows;
  for (int threads : {2, 3}) {
    EXPECT_EQ(run_case(c, 3, {.threads = threads}), want) << threads << " threads";
    EXPECT_EQ(run_case(c, 3, {.super_block_rows = 12, .threads = threads}), want)
        << threads << " threads, ring";
  }
  EXPECT_EQ(run_case(c, 3, {.transport = "shm"}), want);
  EXPECT_EQ(run_case(c, 3, {.super_block_rows = 5, .transport = "shm"}), want);
  for (int threads : {1, 2})
    EXPECT_EQ(run_case(c, 3, {.threads = threads, .used_context = true}), want)
        << "what is left in scratch, " << threads << " threads";
}

TEST_P(BitsTest, DoNotDependOnTheFormOfTheWeight) {
  const tools::DTypeRow& row = *small().operands.row;
  for (const bool transposed : {false, true})
    for (const std::int64_t rows : {0, 9}) {
      OperatorCase c = small();
      c.operands.transpose_x2 = transposed;
      const std::vector<Bits> want = run_case(c, 3, {.super_block_rows = rows});
      const auto with = [&](WeightForm weight) {
        return run_case(c, 3, {.super_block_rows = rows, .weight = weight});
      };
      if (row.scenario() != ops::Scenario::kWeightQuant) {
        EXPECT_EQ(with(WeightForm::kPacked), want);
      }
      if (c.op().traits().nz_weights && row.x2 != DType::kInt4) {
        EXPECT_EQ(with(WeightForm::kFractalNz), want);
      }
    }
}

TEST_P(BitsTest, AreTheSameOnAllRanks) {
  OperatorCase c = small();
  c.operands.equal_tail = true;  // only matmul_allreduce_add_rmsnorm has operands behind the sum
  if (!c.op().same_on_all_ranks(c.operands)) return;
  const Bits want = run_case(c, 3)[0];
  for (std::int64_t rows : {0, 8})
    for (const Bits& bits : run_case(c, 3, {.super_block_rows = rows})) EXPECT_EQ(bits, want);
}

TEST_P(BitsTest, AreTheSameInProcesses) {
  OperatorCase c = small();
  const std::vector<Bits> want = run_case(c, 3);
  run_ranks(3, [&](Rank& rank) {
    auto group = Group::join(rank.id, rank.rank, rank.ranks, operator_group_options());
    auto context = Context::create({.threads = 1});
    for (std::int64_t rows : {0, 10}) {
      c.super_block_rows = rows;
      const RankData mine(c, rank.rank, rank.ranks);
      const Status status = call(*context, *group, c, mine);
      EXPECT_TRUE(status.ok()) << status.to_string();
      EXPECT_EQ(mine.bits(), want[static_cast<std::size_t>(rank.rank)]);
    }
    return std::string();
  });
}

/// Gives every rank the first rows of a call with at least as many rows. What has no rows is equal
/// already.
void take_rows(const Ranks& from, const Ranks& to) {
  for (std::size_t rank = 0; rank < from.size(); ++rank)
    for (OperandId id : {OperandId::kX1, OperandId::kX3, OperandId::kResidual,
                         OperandId::kPertokenScale, OperandId::kX1Scale})
      if ((*to[rank])[id].given()) (*to[rank])[id].take_beginning((*from[rank])[id]);
}

TEST_P(BitsTest, OfARowDoNotDependOnHowManyRowsThereAre) {
  constexpr std::int64_t kMost = 512;
  const bool scatter = &small().op() == &tools::matmul_reduce_scatter_operator();
  for (const bool transposed : {false, true})
    for (const auto& [isa, k] : {std::pair{"", "1300,64"},
                                 {"avx512", "1300,64"},
                                 {"avx2", "96,40"},
                                 {"scalar", "96,40"}}) {
      const auto rows = [&](std::int64_t m) {
        OperatorCase c = make(fmt::format("{}x{}:{}x80", m, k, k));
        c.operands.transpose_x2 = transposed;
        return c;
      };
      const OperatorCase most = rows(kMost);
      const Ranks all = make_ranks(most, 2);
      call_on_all(most, all, {}, isa);
      for (const std::int64_t m : {1, 16, 33, 512}) {
        OperatorCase c = rows(scatter && m % 2 ? m + 1 : m);
        if (m == kMost) c.super_block_rows = 100;
        SCOPED_TRACE(c.text(2) + " " + isa);
        const Ranks data = make_ranks(c, 2);
        take_rows(all, data);
        call_on_all(c, data, {}, isa);
        for (std::size_t i = 0; i < c.op().traits().outputs.size(); ++i) {
          Bits want = all_rows(most, all, i);
          const Bits got = all_rows(c, data, i);
          ASSERT_LE(got.size(), want.size());
          want.resize(got.size());
          EXPECT_EQ(got, want) << "output " << i;
        }
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, BitsTest, ::testing::ValuesIn(all_rows_of_dtypes()), name_of);

/// Rows with the same product, and whether the scale per row is given.
struct Pair {
  const char *allreduce, *scatter;
  bool row_scale;
};

class ScatterTest : public ::testing::TestWithParam<Pair> {};

TEST_P(ScatterTest, GivesTheBitsOfTheRowsOfMatmulAllReduce) {
  const Pair& pair = GetParam();
  for (const int ranks : {1, 2, 3, 8})
    for (const std::int64_t rows : {0, 1, 7, 30, 100}) {
      constexpr const char* kShape = "48x64,33:64,33x72";
      OperatorCase reduce = plain_case(pair.allreduce, kShape),
                   scatter = plain_case(pair.scatter, kShape);
      reduce.operands.with = {OperandId::kBias};
      scatter.operands.with = {OperandId::kBias};
      if (pair.row_scale) scatter.operands.with.add(OperandId::kX1Scale);
      scatter.super_block_rows = rows;
      SCOPED_TRACE(scatter.text(ranks));
      const Ranks whole = make_ranks(reduce, ranks), parts = make_ranks(scatter, ranks);
      for (std::size_t rank = 0; rank < whole.size(); ++rank) {
        RankData &from = *whole[rank], &to = *parts[rank];
        for (const auto& [source, target] : {std::pair{OperandId::kX1, OperandId::kX1},
                                             {OperandId::kX2, OperandId::kX2},
                                             {OperandId::kBias, OperandId::kBias},
                                             {OperandId::kDequantScale, OperandId::kX2Scale},
                                             {OperandId::kPertokenScale, OperandId::kX1Scale}})
          if (to[target].given()) to[target].set(from[source].values());
      }
      call_on_all(reduce, whole);
      call_on_all(scatter, parts);
      EXPECT_EQ(all_rows(scatter, parts, 0), all_rows(reduce, whole, 0));
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, ScatterTest,
                         ::testing::Values(Pair{"N1", "R1", false}, Pair{"N2", "R2", false},
                                           Pair{"Q1", "R3", false}, Pair{"Q4", "R4", true},
                                           Pair{"Q5", "R5", true}),
                         [](const auto& test) { return std::string(test.param.scatter); });

}  // namespace
}  // namespace weft::testing
