// SPDX-License-Identifier: Apache-2.0
// moe_dispatch and the combines from files to files: two ranks with two experts each and three
// tokens of two experts. Every token is one number, so that each row can be computed by hand.
#include <gmock/gmock.h>

#include "operator_files.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using Values = std::vector<double>;

constexpr DType kI32 = DType::kInt32;
constexpr std::int64_t kH = 8;

Values rows(const Values& of_each) {
  Values all;
  for (double value : of_each) all.insert(all.end(), kH, value);
  return all;
}
/// Even and odd elements of each row.
Values rows(const std::vector<std::pair<double, double>>& of_each) {
  Values all;
  for (const auto& [even, odd] : of_each)
    for (std::int64_t i = 0; i < kH; ++i) all.push_back(i % 2 == 0 ? even : odd);
  return all;
}
Values padded(Values values, std::size_t count) {
  values.resize(count);
  return values;
}

class WeftMoeTest : public OperatorFilesTest {
 protected:
  std::string write(const std::string& name, int rank, DType dtype, const Dims& dims,
                    const Values& values) const {
    std::vector<std::byte> bytes;
    for (double value : values) encode(dtype, value, bytes);
    const std::string path = in_ / (name + "_" + std::to_string(rank) + ".npy");
    EXPECT_TRUE(tools::write_npy(path, dtype, dims, bytes.data()).ok());
    return in_ / (name + "_{rank}.npy");
  }
  std::string write_both(const std::string& name, DType dtype, const Dims& dims,
                         const Values& first, const Values& second) const {
    write(name, 0, dtype, dims, first);
    return write(name, 1, dtype, dims, second);
  }

  void SetUp() override {
    x_ = write_both("x", kBf16, {3, kH}, rows({1, 2, 3}), rows({4, 5, 6}));
    ids_ = write_both("expert_ids", kI32, {3, 2}, {0, 2, 3, 0, 1, 2}, {2, 1, 0, 2, 3, 2});
    weights_ = write_both("expert_scales", kF32, {3, 2}, {.5, .25, 1, .5, .25, .75},
                          {.5, .5, .75, .25, 1, .125});
    // Expert e returns e + 1 times its rows; what is behind them is not read.
    const double nan = std::nan("");
    Values first = padded(rows({1, 2, 5, 6, 8}), 12 * kH),
           second = padded(rows({3, 9, 12, 15, 18, 8, 24}), 12 * kH);
    std::fill(first.begin() + 5 * kH, first.end(), nan);
    std::fill(second.begin() + 7 * kH, second.end(), nan);
    expand_x_ = write_both("experts", kBf16, {12, kH}, first, second);
  }

  static std::vector<std::string> with(std::vector<std::string> some,
                                       const std::vector<std::string>& more) {
    some.insert(some.end(), more.begin(), more.end());
    return some;
  }
  std::vector<std::string> call(const std::string& op) const {
    return {"run",     op,     "--ranks", "2",         "--threads",        "1",
            "--dtype", "bf16", "--out",   out_.path(), "--moe-expert-num", "4"};
  }
  std::vector<std::string> dispatch() const {
    return with(call("moe_dispatch"), {"--x", x_, "--expert-ids", ids_});
  }
  std::vector<std::string> combine(const std::string& op = "moe_combine") const {
    return with(call(op),
                {"--expand-x", expand_x_, "--expert-ids", ids_, "--expert-scales", weights_,
                 "--ep-send-counts", out_ / "ep_recv_counts_{rank}.npy",
                 "--assist-info-for-combine", out_ / "assist_info_for_combine_{rank}.npy"});
  }
  static void run_ok(const std::vector<std::string>& arguments) {
    const Ran ran = weft(arguments);
    ASSERT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
  }
  static std::string message(const std::vector<std::string>& arguments) {
    const Ran ran = weft(arguments);
    EXPECT_EQ(ran.exit_code, 2) << ran.err;
    EXPECT_EQ(ran.out, "");
    return ran.err;
  }

  void expect(const std::string& name, int rank, DType dtype, const Dims& dims,
              const Values& values) const {
    const Array got = result(name, rank, dtype);
    EXPECT_EQ(got.dims, dims) << name << " of rank " << rank;
    EXPECT_EQ(got.values, values) << name << " of rank " << rank;
  }
  void expect_both(const std::string& name, DType dtype, const Dims& dims, const Values& first,
                   const Values& second) const {
    expect(name, 0, dtype, dims, first);
    expect(name, 1, dtype, dims, second);
  }

  std::string x_, ids_, weights_, expand_x_;
};

TEST_F(WeftMoeTest, TokensGoToTheRanksOfTheirExperts) {
  run_ok(dispatch());
  expect_both("expand_x", kBf16, {12, kH}, padded(rows({1, 2, 5, 3, 4}), 12 * kH),
              padded(rows({1, 3, 4, 5, 6, 2, 6}), 12 * kH));
  expect_both("assist_info_for_combine", kI32, {36},
              padded({0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 2, 0, 1, 0, 1}, 36),
              padded({0, 0, 1, 0, 2, 1, 1, 0, 0, 1, 1, 1, 1, 2, 1, 0, 1, 0, 1, 2, 0}, 36));
  expect_both("ep_recv_counts", kI32, {4}, {2, 3, 4, 5}, {2, 5, 6, 7});
  expect_both("expert_token_nums", DType::kInt64, {2}, {3, 2}, {5, 2});
  EXPECT_FALSE(tools::read_npy_header(out_ / "dynamic_scales_0.npy").ok());
  run_ok(with(dispatch(), {"--expert-token-nums-type", "0", "--transport", "threads"}));
  expect_both("expert_token_nums", DType::kInt64, {2}, {3, 5}, {5, 7});
}

TEST_F(WeftMoeTest, CombineTakesWhatDispatchWrote) {
  run_ok(dispatch());
  run_ok(combine());
  expect_both("x", kBf16, {3, kH}, rows({1.25, 9, 8.25}), rows({10, 7.5, 26.25}));
  const std::string shared =
      write_both("shared_expert_x", kBf16, {3, 1, kH}, rows({.5, 0, 0}), rows({0, 0, -1}));
  run_ok(with(combine(), {"--shared-expert-x", shared}));
  expect_both("x", kBf16, {3, kH}, rows({1.75, 9, 8.25}), rows({10, 7.5, 25.25}));
}

TEST_F(WeftMoeTest, CombineAddRmsNorm) {
  run_ok(dispatch());
  using Pairs = std::vector<std::pair<double, double>>;
  const std::string residual = write_both("residual_x", kBf16, {3, 1, kH},
                                          rows(Pairs{{1.75, 2.75}, {-12, -6}, {-.25, -.25}}),
                                          rows(Pairs{{-10, -10}, {.015625, 0}, {.25, -.25}}));
  write("gamma", 0, kBf16, {kH}, rows(Pairs{{1, .75}}));
  std::vector<std::string> arguments = combine("moe_combine_add_rmsnorm");
  std::ranges::replace(arguments, "--assist-info-for-combine", "--expand-idx");
  arguments = with(arguments, {"--residual-x", residual, "--gamma", in_ / "gamma_0.npy"});
  for (const char* in_place : {"", "--inplace"}) {
    run_ok(*in_place ? with(arguments, {in_place}) : with(arguments, {"--norm-eps", "1e-6"}));
    expect_both("x", kBf16, {3, 1, kH}, rows(Pairs{{3, 4}, {-3, 3}, {8, 8}}),
                rows(Pairs{{0, 0}, {7.5, 7.5}, {26.5, 26}}));
    expect_both("y", kBf16, {3, 1, kH}, rows(Pairs{{.84765625, .8515625}, {-1, .75}, {1, .75}}),
                rows(Pairs{{0, 0}, {1, .75}, {1.0078125, .7421875}}));
    const Values want[] = {{0.28284270, 0.33333331, 0.125}, {999.99994, 0.13319451, 0.03809351}};
    for (int rank = 0; rank < 2; ++rank) {
      const Array rstd = result("rstd", rank, kF32);
      ASSERT_EQ(rstd.dims, (Dims{3, 1, 1}));
      for (std::size_t t = 0; t < 3; ++t)
        EXPECT_NEAR(rstd.values[t], want[rank][t], 2e-6 * want[rank][t]);
    }
  }
}

TEST_F(WeftMoeTest, MasksLeaveTokensAndEntriesOut) {
  const std::string entries =
      write_both("entries", DType::kBool, {3, 2}, {1, 1, 1, 0, 0, 0}, {1, 1, 1, 1, 1, 1});
  run_ok(with(dispatch(), {"--x-active-mask", entries}));
  expect_both("expand_x", kBf16, {12, kH}, padded(rows({1, 5, 4}), 12 * kH),
              padded(rows({1, 4, 5, 6, 2, 6}), 12 * kH));
  expect_both("ep_recv_counts", kI32, {4}, {1, 2, 2, 3}, {1, 4, 5, 6});
  expect_both("expert_token_nums", DType::kInt64, {2}, {2, 1}, {4, 2});
  expand_x_ = write_both("experts", kBf16, {12, kH}, padded(rows({1, 5, 8}), 12 * kH),
                         padded(rows({3, 12, 15, 18, 8, 24}), 12 * kH));
  run_ok(with(combine(), {"--x-active-mask", entries}));
  expect_both("x", kBf16, {3, kH}, rows({1.25, 8, 0}), rows({10, 7.5, 26.25}));

  const std::string tokens = write_both("tokens", DType::kBool, {3}, {1, 1, 0}, {1, 1, 1});
  run_ok(with(dispatch(), {"--x-active-mask", tokens}));
  expect_both("expand_x", kBf16, {12, kH}, padded(rows({1, 2, 5, 4}), 12 * kH),
              padded(rows({1, 4, 5, 6, 2, 6}), 12 * kH));
  expect_both("ep_recv_counts", kI32, {4}, {2, 3, 3, 4}, {1, 4, 5, 6});
}

TEST_F(WeftMoeTest, RowsAreQuantisedAtTheirSource) {
  x_ = write_both("x", kBf16, {1, kH}, {3, .5, -2, 0, 3, .5, -2, 0},
                  {127, 2.5, 3.5, -.5, -1.5, 0, 1, 2});
  ids_ = write_both("expert_ids", kI32, {1, 1}, {2}, {0});
  run_ok(with(dispatch(), {"--quant-mode", "2"}));
  expect_both("expand_x", DType::kInt8, {2, kH}, padded({127, 2, 4, 0, -2, 0, 1, 2}, 2 * kH),
              padded({127, 21, -85, 0, 127, 21, -85, 0}, 2 * kH));
  expect_both("dynamic_scales", kF32, {2}, {1, 0}, {static_cast<double>(0.0236220472f), 0});
  Values factors = rows({1, 1, 1, 1});
  for (std::size_t i = 0; i < kH; i += 4) factors[2 * kH + i + 1] = 2, factors[2 * kH + i + 2] = .5;
  const std::string scales = write_both("scales", kF32, {4, kH}, factors, factors);
  run_ok(with(dispatch(), {"--quant-mode", "2", "--scales", scales}));
  expect("expand_x", 1, DType::kInt8, {2, kH}, padded({127, 42, -42, 0, 127, 42, -42, 0}, 2 * kH));
}

TEST_F(WeftMoeTest, RanksMayHaveDifferentNumbersOfTokens) {
  write("x", 1, kBf16, {0, kH}, {});
  write("expert_ids", 1, kI32, {0, 2}, {});
  EXPECT_THAT(message(dispatch()),
              HasSubstr("the x of one rank has 0 tokens, that of another 3: how many rows a rank "
                        "may get is not known.\nPass --global-bs 6, "));
  run_ok(with(dispatch(), {"--global-bs", "6"}));
  expect_both("expand_x", kBf16, {12, kH}, padded(rows({1, 2, 3}), 12 * kH),
              padded(rows({1, 3, 2}), 12 * kH));
  expect_both("ep_recv_counts", kI32, {4}, {2, 2, 3, 3}, {2, 2, 3, 3});
  expand_x_ = write_both("experts", kBf16, {12, kH}, padded(rows({1, 2, 6}), 12 * kH),
                         padded(rows({3, 9, 8}), 12 * kH));
  write("expert_scales", 1, kF32, {0, 2}, {});
  run_ok(with(combine(), {"--global-bs", "6"}));
  expect("x", 0, kBf16, {3, kH}, rows({1.25, 9, 8.25}));
  expect("x", 1, kBf16, {0, kH}, {});
}

TEST_F(WeftMoeTest, SharedAndSpecialExperts) {
  // Rank 0 holds the shared expert; of 3 routed ones on rank 1 two are not there to be sent to.
  std::vector<std::string> experts = {"--shared-expert-rank-num", "1", "--copy-expert-num", "1"};
  std::vector<std::string> arguments = with(dispatch(), experts);
  std::ranges::replace(arguments, "4", "3");  // expert 3 returns the token
  run_ok(arguments);
  expect("expand_x", 0, kBf16, {6, kH}, rows({1, 2, 3, 4, 5, 6}));
  expect("ep_recv_counts", 0, kI32, {2}, {3, 6});
  expect("expert_token_nums", 0, DType::kInt64, {1}, {6});
  expect("expand_x", 1, kBf16, {12, kH}, padded(rows({1, 2, 5, 3, 4, 1, 3, 4, 5, 6}), 12 * kH));
  // The shared expert returns 10 times its rows.
  expand_x_ =
      write_both("experts", kBf16, {12, kH}, padded(rows({10, 20, 30, 40, 50, 60}), 12 * kH),
                 padded(rows({1, 2, 5, 6, 8, 3, 9, 12, 15, 18}), 12 * kH));
  arguments = with(combine(), with(experts, {"--ori-x", x_}));
  std::ranges::replace(arguments, "4", "3");
  run_ok(arguments);
  expect_both("x", kBf16, {3, kH}, rows({11.25, 2 + 1 + 20, 38.25}),
              rows({50, 57.5, 68 /* of 68.25 */}));
}

TEST_F(WeftMoeTest, OddIdsAreMentioned) {
  EXPECT_THAT(weft(dispatch()).out, Not(HasSubstr("expert_ids are")));
  write("expert_ids", 1, kI32, {3, 2}, {2, 2, 0, -1, 4, 2});
  const Ran ran = weft(dispatch());
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, Not(HasSubstr("  rank 0: ")));
  EXPECT_THAT(ran.out,
              HasSubstr("  rank 1: 2 of its expert_ids are of no expert and were not sent; "
                        "1 of its expert_ids stand twice for a token and were sent "
                        "again\n"));
  expect("ep_recv_counts", 1, kI32, {4}, {2, 5, 6, 6});
}

TEST_F(WeftMoeTest, MistakesAreNamed) {
  const std::vector<std::string> plain = dispatch();
  EXPECT_THAT(message({plain.begin(), plain.end() - 2}),
              HasSubstr("weft: --expert-ids is missing.\nPass --expert-ids FILE.npy"));
  std::vector<std::string> without = plain;
  std::ranges::replace(without, "--moe-expert-num", "--zero-expert-num");
  EXPECT_THAT(message(without), HasSubstr("weft: --moe-expert-num is missing.\n"));
  EXPECT_THAT(message(with(plain, {"--quant-mode", "1"})),
              HasSubstr("weft: --quant-mode is 1, it must be 0 or 2.\n"));
  EXPECT_THAT(message(with(plain, {"--global-bs", "7"})),
              HasSubstr("weft: --global-bs is 7, but rank 0 has 3 tokens and there are 2 ranks: it "
                        "must be 0, or 6 or more and a multiple of 2.\n"));
  EXPECT_THAT(message(with(plain, {"--comm-quant-mode", "2"})),
              HasSubstr("weft: --comm-quant-mode belongs to moe_combine operators: leave it out "
                        "with moe_dispatch.\n"));
  EXPECT_THAT(message(with(plain, {"--top-k", "2"})), HasSubstr("weft: --top-k describes random "));
  EXPECT_THAT(message(with(plain, {"--gamma", x_})),
              HasSubstr("weft: moe_dispatch has no operand gamma.\n"));
  EXPECT_THAT(message(with(plain, {"--norm-eps", "1"})),
              HasSubstr("weft: moe_dispatch has no norm: leave --epsilon out.\n"));
  EXPECT_THAT(message(with(plain, {"--inplace"})), HasSubstr("moe_dispatch has no in-place form"));
  const std::string floats = write_both("floats", kF32, {3, 2}, Values(6), Values(6));
  std::vector<std::string> wrong = plain;
  std::ranges::replace(wrong, ids_, floats);
  EXPECT_THAT(message(wrong),
              HasSubstr("floats_0.npy: holds float32, expert_ids must be int32.\n"));
  const std::string scales =
      write_both("scales", kF32, {4, kH}, rows({1, 1, 1, 1}), rows({1, 1, 1, 1}));
  EXPECT_THAT(message(with(plain, {"--scales", scales})),
              HasSubstr(": scales is given but expand_x is bfloat16"));
  EXPECT_THAT(message({"run", "add_rmsnorm", "--random", "2x8", "--moe-expert-num", "4"}),
              HasSubstr("weft: --moe-expert-num belongs to moe operators: leave it out with "
                        "add_rmsnorm.\n"));
  EXPECT_THAT(message({"bench", "moe_dispatch", "--shape", "8"}),
              HasSubstr("weft: shape '8': x has 1 axes, it must have 2.\n"));
}

TEST_F(WeftMoeTest, RandomDataAndTheirWaits) {
  const Ran ran =
      weft({"run", "moe_dispatch", "--random", "5,0,9x64", "--ranks", "3", "--top-k", "2",
            "--shared-expert-rank-num", "1", "--quant-mode", "2", "--with", "scales,x-active-mask",
            "--timeline", out_ / "dispatch.svg", "--repeat", "2"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("moe_dispatch, 3 rank(s) as processes"));
  EXPECT_THAT(ran.out, HasSubstr("waits in ms, for rank"));
  EXPECT_THAT(ran.out, HasSubstr("\n  of rank 2 "));
  const Ran json = weft({"run", "moe_combine_add_rmsnorm", "--random", "5x64", "--ranks", "2",
                         "--trace", out_ / "combine.json", "--json"});
  ASSERT_EQ(json.exit_code, 0) << json.err;
  EXPECT_THAT(json.out, HasSubstr("\"residual_x\": \"float16 (5, 1, 64)\""));
  EXPECT_THAT(json.out, HasSubstr("\"bytes_per_second\": "));
  EXPECT_THAT(json.out, HasSubstr("\"wait_seconds_for_rank\": "));
}

TEST_F(WeftMoeTest, CheckBenchAndExplain) {
  for (const char* op : {"moe_dispatch", "moe_combine", "moe_combine_add_rmsnorm"}) {
    const Ran check = weft({"check", op, "4,0,7x40", "--ranks", "3", "--transport", "threads"});
    EXPECT_EQ(check.exit_code, 0) << check.out << check.err;
    EXPECT_THAT(check.out, HasSubstr(" cases, 0 failed; largest error "));
    EXPECT_THAT(check.out, HasSubstr(", 1 shared on 2 rank(s)"));
    EXPECT_THAT(check.out, HasSubstr(", ids of no expert"));
    const Ran explain = weft({"explain", op, "16x64", "--ranks", "2"});
    EXPECT_EQ(explain.exit_code, 0) << explain.err;
    EXPECT_THAT(explain.out, HasSubstr(op));
    EXPECT_THAT(explain.out, HasSubstr("\nbytes     "));
    EXPECT_THAT(explain.out, Not(HasSubstr("GFLOP")));
  }
#ifdef NDEBUG
  const Ran bench = weft({"bench", "moe_dispatch", "--shape", "16x64", "--moe-expert-num", "16",
                          "--top-k", "4", "--ranks", "2", "--repeat", "7"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.out, HasSubstr("moe_dispatch 16x64, row D16, 16 experts, 4 per token, 2 rank"));
  EXPECT_THAT(bench.out, HasSubstr("\neach rank moves "));
#endif
}

}  // namespace
}  // namespace weft::testing
