// SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include <gtest/gtest.h>

#include "cases.h"

namespace weft::tools {
namespace {

using Rows = std::vector<std::int64_t>;

TEST(VerifyTest, ChecksAllRowsIfTheBudgetAllows) {
  const Shape shape = *parse_shape("2x3x8:8x10");
  EXPECT_EQ(rows_to_check(shape, 2, 1e9), (Rows{0, 1, 2, 3, 4, 5}));
  // At least one per rank, first and last included.
  EXPECT_EQ(rows_to_check(shape, 3, 1), (Rows{0, 2, 5}));
  EXPECT_EQ(rows_to_check(shape, 1, 1), (Rows{0}));
  EXPECT_EQ(rows_to_check(*parse_shape("2x8:8x10"), 8, 1), (Rows{0, 1}));
  EXPECT_EQ(rows_to_check(*parse_shape("0x8:8x10"), 2, 1e9), Rows{});
}

class VerifyJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Case made;
    made.shape = *parse_shape("9x40,64:40,64x24");
    made.row = *find_dtype_row("A1");
    source_ = std::make_unique<RandomSource>(made);
    LaunchOptions launch;
    launch.ranks = 2;
    launch.kind = RankKind::kThreads;
    launch.context.threads = 1;
    Job job;
    job.operands = source_.get();
    job.digests = true;
    job.rows = rows_ = {0, 4, 8};
    auto reports = run_job(launch, job);
    ASSERT_TRUE(reports.ok()) << reports.status().to_string();
    reports_ = std::move(reports).value();
  }

  Verdict verdict(bool every_rank) {
    const Result<Verdict> result = verify(*source_, reports_, rows_, every_rank);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    return *result;
  }

  std::unique_ptr<RandomSource> source_;
  Rows rows_;
  std::vector<RankReport> reports_;
};

TEST_F(VerifyJobTest, AcceptsWhatTheOperatorComputes) {
  EXPECT_TRUE(verdict(true).ok());
  EXPECT_GT(verdict(true).worst, 0);
  EXPECT_EQ(verdict(false).rows, 3);
  EXPECT_EQ(reports_[0].m, 9);
  EXPECT_EQ(reports_[1].k, 64);
  // Residuals differ, so the ranks' results do.
  EXPECT_NE(reports_[0].y_digest, reports_[1].y_digest);
}

TEST_F(VerifyJobTest, FindsOneWrongValueAndSaysWhere) {
  reports_[1].norm_rows[24 + 7] ^= 0x0010;  // the second kept row: row 4
  EXPECT_FALSE(verdict(true).ok());
  EXPECT_EQ(verdict(true).where, "norm_out, rank 1, row 4");
  EXPECT_EQ(verdict(false).where, "norm_out, rank 1, row 4");
}

TEST_F(VerifyJobTest, NanIsWrong) {
  reports_[0].y_rows[0] = 0x7e00;
  EXPECT_FALSE(verdict(true).ok());
  EXPECT_EQ(verdict(true).where, "y, rank 0, row 0");
}

TEST_F(VerifyJobTest, MediansAndSpans) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  reports_[0].calls = {{1000, 3000}, {5000, 6000}};
  reports_[1].calls = {{2000, 4000}, {4000, 5500}};
  EXPECT_EQ(call_seconds(reports_), (std::vector<double>{1e-9 * 3000, 1e-9 * 2000}));
  EXPECT_EQ(total_flops(reports_), 2.0 * 9 * 24 * (40 + 64));
}

}  // namespace
}  // namespace weft::tools
