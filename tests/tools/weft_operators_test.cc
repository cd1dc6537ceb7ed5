// SPDX-License-Identifier: Apache-2.0
// Every operator from files to files. The values are small integers and powers of two, so that
// every step is exact in float16 and bfloat16 and the right results can be computed here in a few
// lines.
#include <gmock/gmock.h>

#include "operator_files.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using tools::read_npy_header;

class WeftOperatorsTest : public OperatorFilesTest {};

Dims x1_dims(int rank) { return {2, 3, 20 + 13 * rank}; }
Dims x2_dims(int rank) { return {20 + 13 * rank, 40}; }

TEST_F(WeftOperatorsTest, MatmulAllReduceAddsBiasAndX3OfEveryRank) {
  operand("x1", kBf16, x1_dims, integers(-1, 1));
  operand("x2", kBf16, x2_dims, integers(-1, 1), true);
  operand("bias", kBf16, {40}, integers(-3, 3));
  operand("x3", kBf16, {2, 3, 40}, integers(-3, 3));
  run("matmul_allreduce", {"--dtype", "bf16", "--transpose-x2", "--inplace"});
  for (int rank = 0; rank < kRanks; ++rank) {
    expect_output(rank, kBf16, {2, 3, 40}, [&](std::int64_t i, std::int64_t j) {
      double sum = 0;
      for (int r = 0; r < kRanks; ++r) sum += product(r, i, j) + made("x3", r).at(i, j);
      return sum;
    });
  }
}

TEST_F(WeftOperatorsTest, MatmulAllReduceDequantisesPerTokenAndColumn) {
  operand("x1", DType::kInt8, x1_dims, integers(-2, 2));
  operand("x2", DType::kInt8, x2_dims, integers(-2, 2));
  operand("bias", DType::kInt32, {40}, integers(-9, 9));
  operand("x3", kF16, {2, 3, 40}, integers(-3, 3));
  operand("dequant_scale", kF32, {1, 40}, powers_of_two(-2, 0));
  operand("pertoken_scale", kF32, {6}, powers_of_two(-1, 1));
  run("matmul_allreduce");
  expect_output(1, kF16, {2, 3, 40}, [&](std::int64_t i, std::int64_t j) {
    double sum = 0;
    for (int r = 0; r < kRanks; ++r)
      sum += product(r, i, j) * made("dequant_scale", r).at(0, j) *
                 made("pertoken_scale", r).at(0, i) +
             made("x3", r).at(i, j);
    return sum;
  });
}

TEST_F(WeftOperatorsTest, MatmulAllReduceCommunicatesInt8) {
  operand("x1", DType::kInt8, x1_dims, integers(-9, 9));
  operand("x2", DType::kInt8, x2_dims, integers(-9, 9));
  operand("dequant_scale", DType::kUInt64, {1}, [] { return 0.25; });
  shared_operand("comm_quant_scale_1", kF16, {40}, powers_of_two(-1, 3));
  shared_operand("comm_quant_scale_2", kF16, {40}, powers_of_two(0, 4));
  run("matmul_allreduce");
  // The default rounding mode: to nearest, ties to even.
  const auto int8 = [](double value) { return std::clamp(std::nearbyint(value), -128.0, 127.0); };
  int saturated = 0, exact = 0;
  for (int rank = 0; rank < kRanks; ++rank) {
    expect_output(rank, kF16, {2, 3, 40}, [&](std::int64_t i, std::int64_t j) {
      const double s1 = made("comm_quant_scale_1", 0).at(0, j);
      const double s2 = made("comm_quant_scale_2", 0).at(0, j);
      double sum = 0;
      for (int r = 0; r < kRanks; ++r) {
        const double p = 0.25 * product(r, i, j);
        EXPECT_LT(std::fabs(p), 512);  // exact in float16
        sum += int8(p / s1);
        saturated += std::fabs(p / s1) > 128;
        exact += int8(p / s1) * s1 == p;
      }
      return int8(sum * (s1 / s2)) * s2;
    });
  }
  EXPECT_GT(saturated, 0);
  EXPECT_LT(exact, kRanks * kRanks * 240);
}

TEST_F(WeftOperatorsTest, MatmulAllReduceRestoresWeightsOfGroups) {
  operand("x1", kF16, {6, 72}, integers(-1, 1));
  operand("x2", DType::kInt8, {72, 40}, integers(-2, 2));
  operand("antiquant_scale", kF16, {3, 40}, powers_of_two(-1, 1));
  operand("antiquant_offset", kF16, {3, 40}, integers(-2, 2));
  run("matmul_allreduce", {"--antiquant-group-size", "32"});
  expect_output(2, kF16, {6, 40}, [&](std::int64_t i, std::int64_t j) {
    double sum = 0;
    for (int r = 0; r < kRanks; ++r) {
      sum += product(r, i, j, [&](std::int64_t p, std::int64_t column) {
        return (made("x2", r).at(p, column) + made("antiquant_offset", r).at(p / 32, column)) *
               made("antiquant_scale", r).at(p / 32, column);
      });
    }
    return sum;
  });
}

TEST_F(WeftOperatorsTest, Int4WeightsComeInPairs) {
  const auto restored = [&](int rank, std::int64_t i, std::int64_t j, std::int64_t group) {
    return product(rank, i, j, [&](std::int64_t p, std::int64_t column) {
      const std::int64_t g = p / group;
      return (made("x2", rank).at(p, column) + made("antiquant_offset", rank).at(g, column)) *
             made("antiquant_scale", rank).at(g, column);
    });
  };
  const auto sum = [&](std::int64_t group) {
    return [&restored, group](std::int64_t i, std::int64_t j) {
      return restored(0, i, j, group) + restored(1, i, j, group) + restored(2, i, j, group);
    };
  };
  operand("x1", kBf16, {6, 72}, integers(-1, 1));
  operand("x2", DType::kInt4, {72, 40}, integers(-8, 7), true);
  operand("antiquant_scale", kBf16, {3, 40}, powers_of_two(0, 1));
  operand("antiquant_offset", kBf16, {3, 40}, integers(-2, 2));
  run("matmul_allreduce",
      {"--dtype", "bf16", "--int4", "--transpose-x2", "--antiquant-group-size", "32"});
  // Rounded to bfloat16: three sums below 512, by 1 at most, and one below 1024, by 4.
  const Array got = result("output", 1, kBf16);
  for (std::int64_t i = 0; i < 6; ++i)
    for (std::int64_t j = 0; j < 40; ++j)
      ASSERT_NEAR(got.at(i, j), sum(32)(i, j), 7) << i << ", " << j;

  options_.clear();
  made_.clear();
  operand("x1", kF16, {1, 6, 20}, integers(-1, 1));
  operand("x2", DType::kInt4, {20, 40}, integers(-8, 7));
  operand("antiquant_scale", kF16, {1, 40}, powers_of_two(-1, 1));
  operand("antiquant_offset", kF16, {1, 40}, integers(-2, 2));
  operand("residual", kF16, {1, 6, 40}, integers(-9, 9));
  operand("gamma", kF16, {40}, [] { return 1; });
  run("matmul_allreduce_add_rmsnorm", {"--int4"});
  const Array y = result("y", 2, kF16);
  for (std::int64_t i = 0; i < 6; ++i)
    for (std::int64_t j = 0; j < 40; ++j)
      ASSERT_EQ(y.at(i, j), sum(20)(i, j) + made("residual", 2).at(i, j)) << i << ", " << j;
}

TEST_F(WeftOperatorsTest, FractalNzChangesNoBit) {
  operand("x1", kF16, x1_dims, integers(-1, 1));
  operand("x2", kF16, x2_dims, integers(-1, 1), true);
  for (const char* format : {"nd", "nz"}) {
    run("matmul_allreduce", {"--transpose-x2", "--format", format});
    for (int rank = 0; rank < kRanks; ++rank) {
      expect_output(rank, kF16, {2, 3, 40}, [&](std::int64_t i, std::int64_t j) {
        return product(0, i, j) + product(1, i, j) + product(2, i, j);
      });
    }
  }
  const Ran ran = weft(command("matmul_allreduce", {"--transpose-x2", "--format", "nz", "--json"}));
  EXPECT_THAT(ran.out, HasSubstr("FRACTAL_NZ"));
}

TEST_F(WeftOperatorsTest, MatmulReduceScatterGivesEachRankItsRows) {
  operand(
      "x1", kF16,
      [](int rank) {
        return Dims{9, 20 + 13 * rank};
      },
      integers(-1, 1));
  operand("x2", kF16, x2_dims, integers(-1, 1));
  operand("bias", kF16, {40}, integers(-3, 3));
  run("matmul_reduce_scatter", {"--format", "nz", "--transport", "threads"});
  for (int rank = 0; rank < kRanks; ++rank) {
    expect_output(rank, kF16, {3, 40}, [&](std::int64_t i, std::int64_t j) {
      const std::int64_t row = 3 * rank + i;
      return product(0, row, j) + product(1, row, j) + product(2, row, j);
    });
  }
}

TEST_F(WeftOperatorsTest, MatmulReduceScatterDequantises) {
  operand(
      "x1", DType::kInt8,
      [](int rank) {
        return Dims{9, 20 + 13 * rank};
      },
      integers(-1, 1));
  operand("x2", DType::kInt8, x2_dims, integers(-1, 1), true);
  operand("bias", DType::kInt32, {40}, integers(-3, 3));
  operand("x1_scale", kF32, {9, 1}, powers_of_two(0, 1));
  const std::vector<std::string> before = options_;
  const auto expect_rows = [&](DType dtype) {
    for (int rank = 0; rank < kRanks; ++rank) {
      expect_output(rank, dtype, {3, 40}, [&](std::int64_t i, std::int64_t j) {
        const std::int64_t row = 3 * rank + i;
        double sum = 0;
        for (int r = 0; r < kRanks; ++r)
          sum += product(r, row, j) * made("x1_scale", r).at(row, 0) * made("x2_scale", r).at(0, j);
        return sum;
      });
    }
  };
  operand("x2_scale", DType::kUInt64, {1, 40}, powers_of_two(0, 1));
  run("matmul_reduce_scatter", {"--transpose-x2"});
  expect_rows(kF16);

  options_ = before;
  made_.erase("x2_scale");
  operand("x2_scale", kF32, {40}, powers_of_two(0, 1));
  const Ran ran = weft(command("matmul_reduce_scatter", {"--transpose-x2"}));
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.err, "weft: " + (in_ / "x2_scale_0.npy") +
                         ": with x2_scale of float32 the output can be float16 or "
                         "bfloat16.\nPass --dtype fp16 or --dtype bf16.\n");
  run("matmul_reduce_scatter", {"--transpose-x2", "--dtype", "bf16"});
  expect_rows(kBf16);
}

TEST_F(WeftOperatorsTest, AddRmsNormWorksOnTheFilesOfEachRank) {
  for (DType dtype : {kF32, kF16}) {
    made_.clear();
    options_.clear();
    const auto rows = [](int rank) { return Dims{rank + 1, 2, 4, 5}; };
    operand("x1", dtype, rows, integers(-9, 9));
    operand("x2", dtype, rows, integers(-9, 9));
    operand("gamma", dtype, {4, 5}, powers_of_two(-2, 2));
    run("add_rmsnorm", {"--epsilon", "1e-3"});
    for (int rank = 0; rank < kRanks; ++rank) {
      SCOPED_TRACE(rank);
      const Array x = result("x", rank, dtype), y = result("y", rank, dtype),
                  rstd = result("rstd", rank, kF32);
      ASSERT_EQ(x.dims, rows(rank));
      ASSERT_EQ(y.dims, rows(rank));
      ASSERT_EQ(rstd.dims, (Dims{rank + 1, 2, 1, 1}));
      // y is rounded twice, and the mean and its root in float32.
      const double bound = dtype == kF32 ? 1e-6 : 2.1 * info(dtype).unit_roundoff;
      for (std::size_t row = 0; row < rstd.values.size(); ++row) {
        double squares = 0;
        for (std::size_t e = row * 20; e < (row + 1) * 20; ++e) {
          ASSERT_EQ(x.values[e], made("x1", rank).values[e] + made("x2", rank).values[e]);
          squares += x.values[e] * x.values[e];
        }
        const double want = 1 / std::sqrt(squares / 20 + 1e-3);
        EXPECT_NEAR(rstd.values[row], want, 1e-6 * want);
        for (std::size_t e = 0; e < 20; ++e) {
          const double norm = x.values[row * 20 + e] * want * made("gamma", rank).values[e];
          EXPECT_NEAR(y.values[row * 20 + e], norm, bound * std::fabs(norm));
        }
      }
    }
  }
}

TEST_F(WeftOperatorsTest, RandomDataOfEveryOperator) {
  const std::vector<std::vector<std::string>> commands = {
      {"matmul_allreduce", "--random", "2x9x64:64x48", "--row", "W3", "--inplace", "--with", "x3"},
      {"matmul_reduce_scatter", "--random", "6x64:64x48", "--row", "R5", "--format", "nz"},
      {"add_rmsnorm", "--random", "6x64", "--dtype", "bf16", "--inplace"}};
  for (std::vector<std::string> arguments : commands) {
    SCOPED_TRACE(arguments[0]);
    arguments.insert(arguments.begin(), "run");
    arguments.insert(arguments.end(), {"--ranks", "2", "--repeat", "3", "--out", out_.path()});
    const Ran text = weft(arguments);
    ASSERT_EQ(text.exit_code, 0) << text.err;
    EXPECT_THAT(text.out, HasSubstr("(median of 3), "));
    EXPECT_THAT(text.out, HasSubstr("_{rank}.npy"));
    arguments.push_back("--json");
    EXPECT_THAT(weft(arguments).out, HasSubstr("\"operator\": \"" + arguments[1] + "\""));
  }
  EXPECT_EQ(read_npy_header(out_ / "rstd_1.npy")->shape, (Dims{6, 1}));
}

TEST_F(WeftOperatorsTest, CheckTriesEveryOperator) {
  const Ran comm =
      weft({"check", "matmul_allreduce", "5x33,64:33,64x24", "--ranks", "1,2", "--row", "Q4,W1"});
  EXPECT_EQ(comm.exit_code, 0) << comm.out << comm.err;
  EXPECT_THAT(comm.out, HasSubstr("comm_quant_scale_1, comm_quant_scale_2"));
  EXPECT_THAT(comm.out, HasSubstr("x2 FRACTAL_NZ"));
  EXPECT_THAT(comm.out, HasSubstr("\n28 cases, 0 failed; largest error 0."));
  const Ran scatter = weft({"check", "matmul_reduce_scatter", "--ranks", "3", "--row", "R3"});
  EXPECT_EQ(scatter.exit_code, 0) << scatter.out << scatter.err;
  const Ran norm = weft({"check", "add_rmsnorm", "3x5x64:5x64", "--ranks", "2"});
  EXPECT_EQ(norm.exit_code, 0) << norm.out << norm.err;
  EXPECT_THAT(norm.out, HasSubstr("F32 3x5x64:5x64 ranks 2, seed 3, only required outputs"));
  // Rows that the ranks cannot share are refused by the operator: a failed case, not a crash.
  const Ran odd =
      weft({"check", "matmul_reduce_scatter", "5x8:8x8", "--ranks", "2", "--row", "R1"});
  EXPECT_EQ(odd.exit_code, 1);
  EXPECT_THAT(odd.out, HasSubstr("FAIL       -  R1 5x8:8x8 ranks 2, seed 1: invalid argument: "));
}

TEST_F(WeftOperatorsTest, CheckAllSumsUpEveryOperator) {
  const Ran ran = weft({"check", "--all", "--ranks", "1"});
  EXPECT_EQ(ran.exit_code, 0) << ran.out << ran.err;
  EXPECT_THAT(ran.out, StartsWith("ok "));
  for (const char* row : {"matmul_allreduce N1", "matmul_allreduce W4", "rmsnorm A9",
                          "matmul_reduce_scatter R5", "add_rmsnorm BF16", "ffn P16-int4"})
    EXPECT_THAT(ran.out, HasSubstr(std::string(row) + ": "));
  const std::size_t summary = ran.out.find("\noperator ");
  ASSERT_NE(summary, std::string::npos);
  for (const char* op : {"matmul_allreduce ", "matmul_allreduce_add_rmsnorm ",
                         "matmul_reduce_scatter ", "add_rmsnorm ", "ffn "})
    EXPECT_NE(ran.out.find(std::string("\n") + op, summary), std::string::npos) << op;
  EXPECT_THAT(ran.out.substr(summary), HasSubstr(" cases, 0 failed; largest error "));
}

}  // namespace
}  // namespace weft::testing
