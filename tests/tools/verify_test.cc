// SPDX-License-Identifier: Apache-2.0
#include "jobs/verify.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>

#include "operators/cases.h"

namespace weft::tools {
namespace {

using Rows = std::vector<std::int64_t>;

Case case_of(const char* row, const char* shape) {
  Case made;
  made.row = *find_dtype_row(row);
  made.shape = *made.op().parse_shape(shape);
  return made;
}

TEST(VerifyTest, ChecksAllRowsIfTheBudgetAllows) {
  const Case made = case_of("N1", "2x3x8:8x10");
  EXPECT_EQ(rows_to_check(made, 2, 1e9), (Rows{0, 1, 2, 3, 4, 5}));
  // At least one per rank, first and last included.
  EXPECT_EQ(rows_to_check(made, 3, 1), (Rows{0, 2, 5}));
  EXPECT_EQ(rows_to_check(made, 1, 1), (Rows{0}));
  EXPECT_EQ(rows_to_check(case_of("N1", "2x8:8x10"), 8, 1), (Rows{0, 1}));
  EXPECT_EQ(rows_to_check(case_of("N1", "0x8:8x10"), 2, 1e9), Rows{});
  EXPECT_EQ(rows_to_check(case_of("N1", "3x0:0x10"), 2, 1e9), (Rows{0, 1, 2}));
  // Of its own part, where a rank gets one.
  EXPECT_EQ(rows_to_check(case_of("R1", "6x8:8x10"), 2, 1e9), (Rows{0, 1, 2}));
  EXPECT_EQ(rows_to_check(case_of("F16", "2x2x10"), 2, 1e9), (Rows{0, 1, 2, 3}));
  // Of the rank with most.
  EXPECT_EQ(rows_to_check(case_of("C16", "2,0,5x10"), 3, 1e9), (Rows{0, 1, 2, 3, 4}));
}

/// What a job of a row of dtypes on two ranks brings home.
class RowJob {
 public:
  RowJob(const char* row, const char* shape, Rows rows) : rows_(std::move(rows)) {
    Case made;
    made.row = *find_dtype_row(row);
    made.shape = *made.op().parse_shape(shape);
    op_ = &made.op();
    for (OperandId id : op_->row_choices(*made.row)) made.with.add(id);
    source_ = std::make_unique<RandomSource>(made);
    LaunchOptions launch;
    launch.ranks = 2;
    launch.kind = RankKind::kThreads;
    launch.context.threads = 1;
    Job job;
    job.op = op_;
    job.operands = source_.get();
    job.digests = true;
    job.rows = rows_;
    auto got = run_job(launch, job);
    EXPECT_TRUE(got.ok()) << got.status().to_string();
    if (got.ok()) reports = std::move(got).value();
  }

  Verdict verdict(bool every_rank) const {
    if (reports.empty()) return {};
    const Result<Verdict> result = verify(*op_, *source_, reports, rows_, every_rank);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    return *result;
  }
  /// One element of an output as the rank brought it home.
  template <typename T>
  void set(std::size_t rank, std::size_t output, std::size_t element, T value) {
    std::memcpy(reports.at(rank).outputs.at(output).rows.data() + element * sizeof(T), &value,
                sizeof(T));
  }

  std::vector<RankReport> reports;

 private:
  const Operator* op_ = nullptr;
  Rows rows_;
  std::unique_ptr<RandomSource> source_;
};

TEST(VerifyJobTest, AcceptsWhatTheOperatorsCompute) {
  struct {
    const char *row, *shape;
    Rows rows;
  } const cases[] = {{"A1", "9x40,64:40,64x24", {0, 4, 8}},  {"N2", "9x40,64:40,64x24", {0, 4, 8}},
                     {"W3", "9x40,64:40,64x24", {0, 4, 8}},  {"Q4", "9x40,64:40,64x24", {0, 4, 8}},
                     {"R3", "18x40,64:40,64x24", {0, 4, 8}}, {"F32", "9x24", {0, 4, 8}}};
  for (const auto& [row, shape, rows] : cases) {
    SCOPED_TRACE(row);
    const RowJob job(row, shape, rows);
    EXPECT_TRUE(job.verdict(true).ok());
    EXPECT_EQ(job.verdict(false).rows, 3);
  }
}

TEST(VerifyJobTest, ReportsSayWhatWasComputed) {
  const RowJob job("A1", "9x40,64:40,64x24", {0, 4, 8});
  EXPECT_GT(job.verdict(true).worst, 0);
  EXPECT_EQ(job.reports.at(0).extents.m, 9);
  EXPECT_EQ(job.reports[1].extents.k, 64);
  EXPECT_EQ(job.reports[0].outputs[1].name, "norm_out");
  EXPECT_EQ(job.reports[0].outputs[1].tensor, "float16 (1, 9, 24)");
  // Residuals differ, so the ranks' results do.
  EXPECT_EQ(first_difference(job.reports), "y");
  EXPECT_EQ(first_difference(RowJob("N1", "9x40:40x24", {0}).reports), "");
}

TEST(VerifyJobTest, FindsOneWrongValueAndSaysWhere) {
  RowJob norm("A1", "9x40,64:40,64x24", {0, 4, 8});
  norm.set<std::uint16_t>(1, 1, 24 + 7, 0x4e00);  // 24, in the second kept row: row 4
  EXPECT_FALSE(norm.verdict(true).ok());
  EXPECT_EQ(norm.verdict(true).where, "norm_out, rank 1, row 4");
  EXPECT_EQ(norm.verdict(false).where, "norm_out, rank 1, row 4");

  RowJob sum("N2", "9x40,64:40,64x24", {0, 4, 8});
  sum.set<std::uint16_t>(0, 0, 2 * 24, 0x42c8);  // 100
  EXPECT_EQ(sum.verdict(true).where, "output, rank 0, row 8");
  EXPECT_FALSE(sum.verdict(true).ok());

  RowJob part("R1", "18x40,64:40,64x24", {0, 4, 8});
  part.set<std::uint16_t>(1, 0, 23, 0x5640);  // 100
  EXPECT_EQ(part.verdict(true).where, "output, rank 1, row 0");

  RowJob root("F32", "9x24", {0, 4, 8});
  root.set<float>(0, 1, 2, 0.25f);
  EXPECT_EQ(root.verdict(true).where, "rstd, rank 0, row 8");
  EXPECT_FALSE(root.verdict(true).ok());
}

TEST(VerifyJobTest, TheLastBitCountsInInt8Communication) {
  RowJob job("Q4", "9x40,64:40,64x24", {0, 4, 8});
  EXPECT_EQ(job.verdict(true).worst, 0);
  job.reports[1].outputs[0].rows[2 * 5] ^= 1;
  EXPECT_EQ(job.verdict(true).worst, std::numeric_limits<double>::infinity());
  EXPECT_EQ(job.verdict(true).where, "output, rank 1, row 0");
}

/// A reference that computes something else must not agree.
TEST(VerifyJobTest, OtherOperandsDisagree) {
  for (const char* row : {"A1", "N1", "R1", "F16"}) {
    SCOPED_TRACE(row);
    const char* shape = *row == 'F' ? "8x24" : "8x40:40x24";
    const RowJob job(row, shape, {0, 1, 2, 3});
    Case other;
    other.row = *find_dtype_row(row);
    other.shape = *other.op().parse_shape(shape);
    other.seed = 2;
    const Result<Verdict> verdict =
        verify(other.op(), RandomSource(other), job.reports, {0, 1, 2, 3}, true);
    ASSERT_TRUE(verdict.ok()) << verdict.status().to_string();
    EXPECT_FALSE(verdict->ok());
  }
}

TEST(VerifyJobTest, NanIsWrong) {
  RowJob job("A1", "9x40,64:40,64x24", {0, 4, 8});
  job.set<std::uint16_t>(0, 0, 0, 0x7e00);
  EXPECT_FALSE(job.verdict(true).ok());
  EXPECT_EQ(job.verdict(true).where, "y, rank 0, row 0");
}

TEST(VerifyJobTest, MediansAndSpans) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  RowJob job("A1", "9x40,64:40,64x24", {});
  job.reports[0].calls = {{1000, 3000}, {5000, 6000}};
  job.reports[1].calls = {{2000, 4000}, {4000, 5500}};
  EXPECT_EQ(call_seconds(job.reports), (std::vector<double>{1e-9 * 3000, 1e-9 * 2000}));
  EXPECT_EQ(total_flops(job.reports), 2.0 * 9 * 24 * (40 + 64));
}

}  // namespace
}  // namespace weft::tools
