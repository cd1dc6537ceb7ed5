// SPDX-License-Identifier: Apache-2.0
// ffn from files to files. The values are small integers and powers of two and the activations
// relu and reglu, so that everything before the last rounding is exact.
#include <gmock/gmock.h>

#include "operator_files.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

constexpr DType kI8 = DType::kInt8;

double rounded(DType dtype, double value) {
  return dtype == kF16 ? fp16_to_f32(f64_to_fp16(value)) : bf16_to_f32(f64_to_bf16(value));
}
double relu(double value) { return std::max(value, 0.0); }

/// One element of a weight; `row` counts through the experts.
using Weight = std::function<double(const std::string& name, std::int64_t row, std::int64_t j)>;
/// Element j of what is between the products, made of a row of the first.
using Between = std::function<double(const std::vector<double>& h, std::int64_t j)>;

class WeftFfnTest : public OperatorFilesTest {
 protected:
  Weight weight(int rank) const {
    return [this, rank](const std::string& name, std::int64_t row, std::int64_t j) {
      return made(name, rank).at(row, j);
    };
  }
  /// What the int8 or int4 value stands for: groups of `rows` of k with a scale and an offset.
  Weight restored(int rank, std::int64_t rows) const {
    return [this, rank, rows](const std::string& name, std::int64_t row, std::int64_t j) {
      const std::string number = name.substr(name.size() - 1);
      return (made(name, rank).at(row, j) +
              made("antiquant_offset" + number, rank).at(row / rows, j)) *
             made("antiquant_scale" + number, rank).at(row / rows, j);
    };
  }

  /// a · W + b of one expert.
  std::vector<double> product(const std::vector<double>& a, const std::string& number, int rank,
                              std::int64_t expert, const Weight& weight) const {
    const Array& w = made("weight" + number, rank);
    const auto k = static_cast<std::int64_t>(a.size());
    std::vector<double> sums;
    for (std::int64_t j = 0; j < w.dims.back(); ++j) {
      double sum = made_.contains("bias" + number) ? made("bias" + number, rank).at(expert, j) : 0;
      for (std::int64_t p = 0; p < k; ++p)
        sum += a[static_cast<std::size_t>(p)] * weight("weight" + number, expert * k + p, j);
      sums.push_back(sum);
    }
    return sums;
  }
  std::vector<double> row(int rank, std::int64_t i, std::int64_t hidden, const Between& between,
                          const Weight& weight, std::int64_t expert = 0) const {
    const Array& x = made("x", rank);
    std::vector<double> row_of_x, a;
    for (std::int64_t p = 0; p < x.dims.back(); ++p) row_of_x.push_back(x.at(i, p));
    const std::vector<double> h = product(row_of_x, "1", rank, expert, weight);
    for (std::int64_t j = 0; j < hidden; ++j) a.push_back(between(h, j));
    return product(a, "2", rank, expert, weight);
  }

  /// y_{rank}.npy has x's axes but the last, and each row is what `want` says, rounded.
  void expect_rows(DType dtype,
                   const std::function<std::vector<double>(int rank, std::int64_t i)>& want) const {
    for (int rank = 0; rank < kRanks; ++rank) {
      const Array got = result("y", rank, dtype);
      Dims dims = made("x", rank).dims;
      dims.back() = made("weight2", rank).dims.back();
      ASSERT_EQ(got.dims, dims);
      const auto rows = static_cast<std::int64_t>(got.values.size()) / dims.back();
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::vector<double> row = want(rank, i);
        for (std::int64_t j = 0; j < dims.back(); ++j)
          ASSERT_EQ(got.at(i, j), rounded(dtype, row[static_cast<std::size_t>(j)]))
              << "rank " << rank << ", (" << i << ", " << j << ")";
      }
    }
  }

  static double relu_of(const std::vector<double>& h, std::int64_t j) {
    return relu(h[static_cast<std::size_t>(j)]);
  }
};

TEST_F(WeftFfnTest, DenseOnTheFilesOfEachRank) {
  operand(
      "x", kF16,
      [](int rank) {
        return Dims{rank + 1, 2, 20};
      },
      integers(-1, 1));
  operand("weight1", kF16, {20, 24}, integers(-1, 1), true);
  operand("weight2", kF16, {24, 16}, integers(-1, 1), true);
  operand("bias1", kF16, {24}, integers(-3, 3));
  operand("bias2", kF32, {16}, integers(-3, 3));
  run("ffn", {"--activation", "ReLU", "--transpose-weight1", "--transpose-weight2"});
  const auto want = [&](int rank, std::int64_t i) {
    return row(rank, i, 24, relu_of, weight(rank));
  };
  expect_rows(kF16, want);
  run("ffn", {"--activation", "relu", "--transpose-weight1", "--transpose-weight2",
              "--inner-precise", "1", "--transport", "threads"});
  expect_rows(kF16, want);
}

TEST_F(WeftFfnTest, ExpertsByRowsAndByEnds) {
  operand("x", kBf16, {6, 20}, integers(-1, 1));
  operand("weight1", kBf16, {3, 20, 24}, integers(-1, 1), true);
  operand("weight2", kBf16, {3, 24, 16}, integers(-1, 1));
  operand("bias1", kF32, {3, 24}, integers(-3, 3));
  // Expert 1 has no rows, and row 5 is no one's: it stays zero.
  const auto want = [&](int rank, std::int64_t i) {
    if (i == 5) return std::vector<double>(16);
    return row(rank, i, 24, relu_of, weight(rank), i < 2 ? 0 : 2);
  };
  const std::vector<std::string> all = {"--activation", "relu", "--dtype", "bf16",
                                        "--transpose-weight1"};
  const auto run_with = [&](std::vector<std::string> tokens) {
    tokens.insert(tokens.end(), all.begin(), all.end());
    run("ffn", tokens);
    expect_rows(kBf16, want);
  };
  run_with({"--expert-tokens", "2,0,3"});
  run_with({"--expert-tokens", "2,2,5", "--tokens-are-ends"});
  const std::int64_t ends[] = {2, 2, 5};
  ASSERT_TRUE(
      tools::write_npy(in_ / "ends_1.npy", DType::kInt64, std::vector<std::int64_t>{3}, ends).ok());
  run_with({"--expert-tokens", in_ / "ends_1.npy", "--tokens-are-ends"});
}

TEST_F(WeftFfnTest, TheGateIsTheRightHalfOrTheLeft) {
  operand("x", kF16, {4, 6}, integers(-1, 1));
  operand("weight1", kF16, {6, 20}, integers(-1, 1));
  operand("weight2", kF16, {10, 8}, integers(-1, 1));
  for (bool left : {false, true}) {
    std::vector<std::string> options = {"--activation", "reglu"};
    if (left) options.push_back("--gate-is-left");
    run("ffn", options);
    expect_rows(kF16, [&](int rank, std::int64_t i) {
      return row(
          rank, i, 10,
          [left](const std::vector<double>& h, std::int64_t j) {
            const double first = h[static_cast<std::size_t>(j)],
                         second = h[static_cast<std::size_t>(j + 10)];
            return left ? relu(first) * second : first * relu(second);
          },
          weight(rank));
    });
  }
}

TEST_F(WeftFfnTest, Int8IsQuantisedBetweenTheProducts) {
  const auto run_and_expect = [&](DType scale, DType io, std::vector<std::string> options) {
    made_.clear();
    options_.clear();
    operand("x", kI8, {2, 3, 20}, integers(-9, 9));
    operand("weight1", kI8, {20, 24}, integers(-9, 9));
    operand("weight2", kI8, {24, 16}, integers(-9, 9), true);
    operand("bias1", DType::kInt32, {24}, integers(-99, 99));
    operand("bias2", DType::kInt32, {16}, integers(-99, 99));
    operand("scale", kF32, {24}, powers_of_two(-1, 3));
    operand("offset", kF32, {1}, [] { return -90; });
    operand("deq_scale1", scale, {24}, powers_of_two(-3, -2));
    operand("deq_scale2", scale, {16}, powers_of_two(-8, -6));
    options.insert(options.end(), {"--activation", "relu", "--transpose-weight2"});
    run("ffn", options);
    int saturated = 0;
    expect_rows(io, [&](int rank, std::int64_t i) {
      const auto int8 = [&](const std::vector<double>& h, std::int64_t j) {
        const double a = relu(h[static_cast<std::size_t>(j)] * made("deq_scale1", rank).at(0, j));
        const double q = rounded(kF16, a * made("scale", rank).at(0, j) - 90);
        saturated += q > 127;
        return std::clamp(std::nearbyint(q), -128.0, 127.0);
      };
      std::vector<double> y = row(rank, i, 24, int8, weight(rank));
      for (std::size_t j = 0; j < y.size(); ++j) y[j] *= made("deq_scale2", rank).values[j];
      return y;
    });
    EXPECT_GT(saturated, 10);
    EXPECT_LT(saturated, kRanks * 6 * 24 / 2);
  };
  run_and_expect(DType::kUInt64, kF16, {});
  run_and_expect(kF32, kF16, {});
  run_and_expect(kBf16, kBf16, {"--dtype", "bf16"});
}

TEST_F(WeftFfnTest, WeightsOfInt8AndInt4AreRestored) {
  operand("x", kF16, {5, 12}, integers(-1, 1));
  operand("antiquant_scale1", kF16, {2, 3, 8}, powers_of_two(-3, -2));
  operand("antiquant_scale2", kF16, {2, 2, 16}, powers_of_two(-3, -2));
  operand("antiquant_offset1", kF16, {2, 3, 8}, integers(-2, 2));
  operand("antiquant_offset2", kF16, {2, 2, 16}, integers(-2, 2));
  const std::vector<std::string> scales = options_;
  for (DType dtype : {kI8, DType::kInt4}) {
    options_ = scales;
    made_.erase("weight1");
    made_.erase("weight2");
    operand("weight1", dtype, {2, 12, 8}, integers(-8, 7));
    operand("weight2", dtype, {2, 8, 16}, integers(-8, 7), true);
    std::vector<std::string> more = {"--activation", "relu", "--expert-tokens", "1,4",
                                     "--transpose-weight2"};
    if (dtype == DType::kInt4) more.push_back("--int4");
    run("ffn", more);
    expect_rows(kF16, [&](int rank, std::int64_t i) {
      return row(
          rank, i, 8,
          [](const std::vector<double>& h, std::int64_t j) { return rounded(kF16, relu_of(h, j)); },
          restored(rank, 4), i < 1 ? 0 : 1);
    });
  }
}

TEST_F(WeftFfnTest, MistakesAreTheOperatorsToName) {
  operand("x", kF16, {5, 12}, integers(-1, 1));
  operand("weight1", kF16, {2, 12, 8}, integers(-1, 1));
  const auto message = [&](std::vector<std::string> more) {
    const Ran ran = weft(command("ffn", std::move(more)));
    EXPECT_EQ(ran.exit_code, 2) << ran.err;
    EXPECT_EQ(ran.out, "");
    return ran.err;
  };
  EXPECT_THAT(message({}), HasSubstr("weft: --weight2 is missing.\nPass --weight2 FILE.npy"));
  operand("weight2", kF16, {2, 8, 16}, integers(-1, 1));
  EXPECT_THAT(message({}),
              HasSubstr("ffn: weight1 has 3 axes but must have 2 without expert_tokens\noperands "
                        "of rank "));
  EXPECT_THAT(message({"--expert-tokens", "3,3"}),
              HasSubstr("ffn: expert_tokens[1] is 3, which makes 3 + 3 rows, but x has 5"));
  EXPECT_THAT(message({"--expert-tokens", "3,1", "--tokens-are-ends"}),
              HasSubstr("ffn: expert_tokens[1] is 1, less than the 3 before it"));
  EXPECT_THAT(message({"--expert-tokens", "3,x"}),
              HasSubstr("weft: --expert-tokens is '3,x', it must be rows of each expert, like "));
  EXPECT_THAT(message({"--expert-tokens", "1,2,1"}),
              HasSubstr("ffn: weight1 has 2 experts but expert_tokens has 3 values"));
  EXPECT_THAT(message({"--expert-tokens", "3,2", "--activation", "swiglu"}),
              HasSubstr("ffn: weight1 has n = 8 and weight2 k = 8, but swiglu needs twice as "));
  EXPECT_THAT(message({"--expert-tokens", "3,2", "--activation", "tanh"}),
              HasSubstr("weft: --activation is 'tanh', it must be fastgelu, relu, silu, gelu, "
                        "geglu, swiglu or reglu.\n"));
  EXPECT_THAT(message({"--expert-tokens", "3,2", "--int4"}),
              HasSubstr("weight1_0.npy: holds float16 (2, 12, 8), with --int4 weight1 must be "));
  operand("scale", kF32, {2}, integers(1, 1));
  EXPECT_THAT(message({"--expert-tokens", "3,2"}), HasSubstr("ffn: scale is given, but x is "));
  operand("bias1", DType::kInt32, {2, 8}, integers(1, 1));
  options_.erase(options_.end() - 4, options_.end() - 2);  // the scale
  EXPECT_THAT(message({"--expert-tokens", "3,2"}),
              HasSubstr("ffn: bias1 is int32 but must be float16 like x, or float32"));
}

TEST_F(WeftFfnTest, RandomDataOfEveryKind) {
  const std::vector<std::vector<std::string>> commands = {
      {"3x5x64:96", "--row", "UBG", "--transpose-weight1"},
      {"9x64:96x48", "--activation", "geglu", "--gate-is-left"},
      {"9x64:96x48", "--row", "PB-int4", "--antiquant-group-size", "32", "--experts", "4"},
      {"9x64:96x48", "--row", "QB", "--with", "bias1,bias2", "--experts", "2", "--skew"}};
  for (std::vector<std::string> arguments : commands) {
    SCOPED_TRACE(arguments[2]);
    arguments.insert(arguments.begin(), {"run", "ffn", "--random"});
    arguments.insert(arguments.end(), {"--repeat", "3", "--out", out_.path(), "--json"});
    const Ran ran = weft(arguments);
    ASSERT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_THAT(ran.out, HasSubstr("\"weight2\": \""));
    EXPECT_THAT(ran.out, HasSubstr("\"gflops\": "));
  }
  EXPECT_EQ(tools::read_npy_header(out_ / "y_0.npy")->shape, (Dims{9, 48}));
}

TEST_F(WeftFfnTest, CheckTriesEveryActivationWithAndWithoutExperts) {
  const Ran ran = weft({"check", "ffn", "5x64:32x24", "--row", "U16,UBG,P16-int4"});
  EXPECT_EQ(ran.exit_code, 0) << ran.out << ran.err;
  for (const char* activation : {"fastgelu", "relu", "silu", "gelu", "geglu", "swiglu", "reglu"})
    EXPECT_THAT(ran.out, HasSubstr(std::string(", ") + activation + ", "));
  EXPECT_THAT(ran.out, HasSubstr(", swiglu, gate left"));
  EXPECT_THAT(ran.out, HasSubstr(", 3 experts with gaps"));
  EXPECT_THAT(ran.out, HasSubstr(", scale per group"));
  EXPECT_THAT(ran.out, HasSubstr("\n34 cases, 0 failed; largest error "));
}

}  // namespace
}  // namespace weft::testing
