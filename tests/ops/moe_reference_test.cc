// SPDX-License-Identifier: Apache-2.0
// The references of dispatch and combine against numbers worked out by hand: they accept those, and
// nothing else.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "moe_case.h"
#include "ops/moe_combine/reference.h"
#include "ops/moe_combine_add_rmsnorm/reference.h"
#include "ops/moe_dispatch/reference.h"

namespace weft::testing {
namespace {

using Numbers = std::vector<double>;

// Two ranks, experts 0 and 1 on the first; one column.
MoeCase example() {
  return {.ranks = 2,
          .tokens = {3},
          .h = 1,
          .k = 2,
          .experts = {.moe_expert_num = 4},
          .given_ids = {{0, 2, 3, 0, 1, 2}, {2, 1, 0, 2, 3, 2}},
          .slack = 1};
}

void set_outputs(MoeRank& rank, const Numbers& rows, const Numbers& triples, const Numbers& counts,
                 std::vector<std::uint64_t> nums) {
  const auto put = [](GuardedTensor& t, Numbers values) {
    values.resize(static_cast<std::size_t>(t.view().elements()), -1);
    t.set(values);
  };
  put(rank.expand_x, rows);
  put(rank.assist, triples);
  put(rank.ep_counts, counts);
  rank.token_nums.set_words(nums);
}

class MoeReference : public ::testing::Test {
 protected:
  MoeReference() : data_(example()) {
    data_.at(0).x.set({1, 2, 3});
    data_.at(1).x.set({4, 5, 6});
    data_.at(0).expert_scales.set({.5, .25, 1, .5, .25, .75});
    data_.at(1).expert_scales.set({.5, .5, .75, .25, 1, .125});
    set_outputs(data_.at(0), {1, 2, 5, 3, 4}, {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 2, 0, 1, 0, 1},
                {2, 3, 4, 5}, {3, 2});
    set_outputs(data_.at(1), {1, 3, 4, 5, 6, 2, 6},
                {0, 0, 1, 0, 2, 1, 1, 0, 0, 1, 1, 1, 1, 2, 1, 0, 1, 0, 1, 2, 0}, {2, 5, 6, 7},
                {5, 2});
    data_.at(0).returned.set({1, 2, 5, 6, 8, NAN});
    data_.at(1).returned.set({3, 9, 12, 15, 18, 8, 24, NAN});
    data_.at(0).combined.set({1.25, 9, 8.25});
    data_.at(1).combined.set({10, 7.5, 26.25});
  }

  ops::RowError dispatched(int rank) const {
    const std::vector<MoeDispatchArgs> all = {data_.dispatch(0), data_.dispatch(1)};
    ops::RowError error = ops::check_rows(all, rank);
    for (std::int64_t row = 0; row < ops::reference_rows(all, rank); ++row)
      error.add(ops::check_row(all, rank, row).worst, "one row");
    const ops::RowError counts = ops::check_counts(all, rank);
    error.add(counts.worst, counts.where);
    return error;
  }
  double combined(int rank) const {
    const std::vector<MoeCombineArgs> all = {data_.combine(0), data_.combine(1)};
    double worst = 0;
    for (std::int64_t t = 0; t < 3; ++t)
      worst = std::max(worst, ops::check_row(all, rank, t).worst);
    return worst;
  }
  MoeData data_;
};

TEST_F(MoeReference, AcceptsWhatIsRight) {
  for (int rank = 0; rank < 2; ++rank) {
    const ops::RowError error = dispatched(rank);
    EXPECT_EQ(error.worst, 0) << error.where;
    EXPECT_EQ(combined(rank), 0);
  }
}

TEST_F(MoeReference, SeesEveryWrongNumber) {
  const auto wrong = [&](GuardedTensor MoeRank::*which, std::size_t elements, const char* where) {
    for (int rank = 0; rank < 2; ++rank)
      for (std::size_t i = 0; i < elements; ++i) {
        MoeRank& mine = data_.at(rank);
        const GuardedTensor right = mine.*which;
        const TensorRef view = (mine.*which).writable();
        const std::int64_t bytes = info(view.dtype()).bits / 8;
        static_cast<char*>(view.data())[static_cast<std::int64_t>(i) * bytes] ^= 1;
        EXPECT_GT(dispatched(rank).worst, 1);
        EXPECT_EQ(dispatched(rank).where, where) << i;
        mine.*which = right;
      }
  };
  wrong(&MoeRank::expand_x, 5, "expand_x");
  wrong(&MoeRank::assist, 15, "assist_info_for_combine");
  wrong(&MoeRank::ep_counts, 4, "ep_recv_counts");
  wrong(&MoeRank::token_nums, 2, "expert_token_nums");
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(dispatched(rank).worst, 0);
}

TEST_F(MoeReference, SeesEveryWrongTokenOfTheCombine) {
  data_.at(0).combined.set({1.25, 9, 8.3125});
  EXPECT_GT(combined(0), 1);
  EXPECT_EQ(combined(1), 0);
  data_.at(0).combined.set({1.25, 9, 8.25});
  data_.at(1).assist.set(Numbers(static_cast<std::size_t>(data_.at(1).assist.view().dim(0)), 0));
  EXPECT_GT(combined(0), 1) << "a row that nobody names";
}

TEST_F(MoeReference, SeesEveryWrongNumberOfTheNorm) {
  // One column: f is what is rounded to x, 1 / rstd its size.
  data_.at(0).residual.set({-.25, 0, -.25});
  data_.at(0).gamma.set({.75});
  data_.at(0).combined.set({1, 9, 8});
  data_.at(0).rstd.set({0.9999995, 1.0 / 9, .125});
  data_.at(0).y.set({.75, .75, .75});
  const auto worst = [&] {
    const std::vector<MoeCombineAddRmsNormArgs> all = {data_.norm(0), data_.norm(1)};
    ops::RowError error;
    for (std::int64_t t = 0; t < 3; ++t) {
      const ops::RowError row = ops::check_row(all, 0, t);
      error.add(row.worst, row.where);
    }
    return error;
  };
  EXPECT_LE(worst().worst, 1) << worst().where;
  data_.at(0).rstd.set({0.9999995, 1.0 / 9, .12500031});
  EXPECT_EQ(worst().where, "rstd");
  EXPECT_GT(worst().worst, 1);
  data_.at(0).rstd.set({0.9999995, 1.0 / 9, .125});
  data_.at(0).y.set({.75, .75390625, .75});
  EXPECT_EQ(worst().where, "y");
  data_.at(0).y.set({.75, .75, .75});
  data_.at(0).combined.set({1, 9.0625, 8});
  EXPECT_EQ(worst().where, "x");
}

}  // namespace
}  // namespace weft::testing
