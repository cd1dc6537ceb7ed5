// SPDX-License-Identifier: Apache-2.0
// What the tool says when it is called wrongly, and its help.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files/json.h"
#include "weft_tool.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kOp = "matmul_allreduce_add_rmsnorm";

TEST(WeftOptionsTest, EveryCommandHasHelpWithExamples) {
  EXPECT_THAT(weft({"--help"}).out, HasSubstr("Exit codes: 0 ok"));
  for (const char* command : {"info", "run", "check", "bench", "explain", "demo", "cann-flags"}) {
    const Ran ran = weft({command, "--help"});
    EXPECT_EQ(ran.exit_code, 0) << command;
    EXPECT_EQ(ran.err, "") << command;
    EXPECT_THAT(ran.out, HasSubstr(std::string("\n  weft ") + command)) << command;
  }
}

TEST(WeftOptionsTest, MistakesAreOneMessageAndCodeTwo) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{},
       "weft: a command is missing.\nCommands: info, run, check, bench, explain, demo, "
       "cann-flags.\n"},
      {{"frobnicate"},
       "weft: unknown command 'frobnicate'.\nCommands: info, run, check, bench, explain, demo, "
       "cann-flags.\n"},
      {{"run", "matmul"},
       "weft: unknown operator 'matmul'.\nKnown operators: matmul_allreduce, "
       "matmul_allreduce_add_rmsnorm, matmul_reduce_scatter, add_rmsnorm, ffn, moe_dispatch, "
       "moe_combine, moe_combine_add_rmsnorm.\n"},
      {{"bench", "matmul", "1x1:1x1"}, "weft: unknown operator 'matmul'.\nKnown operators: "},
      {{"run"}, "weft: name an operator, or a program behind '--'.\nSee weft run --help.\n"},
      {{"run", kOp, "--", "true"}, "weft: name an operator or a program behind '--', not both.\n"},
      {{"info", "--", "true"}, "weft: a program behind '--' belongs to weft run.\n"},
      {{"run", kOp}, "weft: --x1 is missing.\nPass --x1 FILE.npy, or --random SHAPE instead of "},
      {{"run", kOp, "--random", "4x8:8"}, "weft: shape '4x8:8': x2 has 1 axes, it must have 2.\n"},
      {{"run", kOp, "--random", "4x8:8x2", "--x1", "a.npy"},
       "weft: --random and operand files exclude each other.\n"},
      {{"run", kOp, "--random", "4x8:8x2", "--row", "A0"}, "weft: there is no row 'A0'."},
      {{"run", kOp, "--random", "4x8:8x2", "--dtype", "fp8"},
       "weft: --dtype is 'fp8', it must be fp16 or bf16.\n"},
      {{"run", kOp, "--random", "4x8:8x2", "--dtype", "bf16", "--row", "A1"},
       "weft: --dtype is bf16, row A1 computes in float16.\n"},
      {{"run", kOp, "--ranks", "0"}, "weft: --ranks: Value 0 not in range "},
      {{"run", kOp, "--ranks", "many"}, "weft: "},
      {{"run", kOp, "--nonsense"},
       "weft: The following argument was not expected: --nonsense\nSee "
       "weft run --help.\n"},
      {{"run", kOp, "--random", "4x8:8x2", "--isa", "sse"}, "weft: "},
      {{"run", kOp, "--random", "4x8:8x2", "--transport", "pigeon"}, "weft: --transport: pigeon "},
      {{"run", kOp, "--random", "4x8:8x2", "--trace", "/nowhere/t.json"},
       "weft: /nowhere/t.json: cannot be written: No such file or directory.\nCheck the path.\n"},
      {{"run", kOp, "--x1", "a.npy", "--x3", "b.npy"},
       "weft: matmul_allreduce_add_rmsnorm has no operand x3.\nIts operands: --x1 --x2 --residual "
       "--gamma [--bias] [--dequant-scale] [--antiquant-scale] [--antiquant-offset].\n"},
      {{"run", "add_rmsnorm", "--x1", "a.npy", "--bias", "b.npy"},
       "weft: add_rmsnorm has no operand bias.\nIts operands: --x1 --x2 --gamma.\n"},
      {{"run", "matmul_reduce_scatter", "--x1", "a.npy"}, "weft: --x2 is missing.\nPass --x2 "},
      {{"run", "matmul_allreduce", "--x1", "a.npy", "--with", "x3"},
       "weft: --row and --with describe random operands: pass --random SHAPE.\n"},
      {{"run", "matmul_allreduce", "--random", "4x8:8x2", "--with", "gamma"},
       "weft: --with gamma: it is not an optional operand of matmul_allreduce, row N1.\nThese are: "
       "bias, x3.\n"},
      {{"bench", "add_rmsnorm", "4x8", "--with", "bias"},
       "weft: --with bias: it is not an optional operand of add_rmsnorm, row F16.\nThese are: "
       "none.\n"},
      {{"run", "matmul_allreduce", "--random", "4x8:8x2", "--row", "A1"},
       "weft: there is no row 'A1'. The rows are:\n  N1  x1 float16, "},
      {{"run", "matmul_allreduce", "--random", "4x8:8x2", "--epsilon", "1e-5"},
       "weft: matmul_allreduce has no norm: leave --epsilon out.\n"},
      {{"run", "matmul_reduce_scatter", "--random", "4x8:8x2", "--inplace"},
       "weft: matmul_reduce_scatter has no in-place form: leave --inplace out.\n"},
      {{"run", "matmul_allreduce", "--random", "4x8:8x2", "--inplace"},
       "weft: output cannot have the memory of x3: it is float16 (4, 2), x3 is none.\nLeave "
       "--inplace out.\n"},
      {{"explain", "matmul_reduce_scatter", "4x8:8x2", "--antiquant-group-size", "32"},
       "weft: matmul_reduce_scatter has no antiquant_scale: leave --antiquant-group-size out.\n"},
      {{"run", "add_rmsnorm", "--random", "4x8", "--transpose-x2"},
       "weft: add_rmsnorm has no weight: leave --transpose-x2 out.\n"},
      {{"run", "add_rmsnorm", "--random", "4x8", "--format", "nz"},
       "weft: add_rmsnorm has no weight: leave --format nz out.\n"},
      {{"run", "add_rmsnorm", "--random", "4x8", "--trace", "t.json"},
       "weft: add_rmsnorm sends nothing and records nothing: leave --trace and --timeline out.\n"},
      {{"run", "add_rmsnorm", "--random", "4x8", "--dtype", "fp8"},
       "weft: --dtype is 'fp8', it must be fp16 or bf16 or fp32.\n"},
      {{"run", "matmul_allreduce", "--random", "4x8:8x2", "--format", "nhwc"},
       "weft: --format: nhwc "},
      {{"run", "matmul_allreduce", "--random", "4x8:8x2", "--int4"},
       "weft: --int4 says what files hold: with --random name a row with int4 weights.\n"},
      {{"run", "matmul_reduce_scatter", "--x1", "a.npy", "--x2", "b.npy", "--int4"},
       "weft: matmul_reduce_scatter has no int4 weights: leave --int4 out.\n"},
      {{"run", "ffn", "--x", "a.npy", "--x2", "b.npy"},
       "weft: ffn has no operand x2.\nIts operands: --x --weight1 --weight2 [--expert-tokens] "
       "[--bias1] [--bias2] [--scale] [--offset] "},
      {{"run", "ffn", "--random", "4x8:8x2x2"}, "weft: shape '4x8:8x2x2': weight2 has 3 axes, "},
      {{"run", "ffn", "--random", "4x8:8", "--transpose-x2"},
       "weft: ffn has no x2: leave --transpose-x2 out.\n"},
      {{"run", "ffn", "--random", "4x8:8", "--trace", "t.json"},
       "weft: ffn sends nothing and records nothing: leave --trace and --timeline out.\n"},
      {{"run", "ffn", "--random", "4x8:8", "--row", "U16G", "--activation", "relu"},
       "weft: --activation is 'relu', it must be geglu, swiglu or reglu in row U16G.\n"},
      {{"run", "ffn", "--random", "4x8:8", "--inner-precise", "2"},
       "weft: --inner-precise: Value 2 not in range "},
      {{"explain", "ffn", "4x8:8", "--row", "UB", "--inner-precise", "1"},
       "weft: ffn: inner_precise is 1 (high performance) but must be 0 with bfloat16"},
      {{"bench", "ffn", "4x8:8", "--skew"},
       "weft: --skew is about experts: pass --experts, or leave it out.\n"},
      {{"run", "ffn", "--random", "4x48:32", "--row", "P16", "--antiquant-group-size", "32"},
       "weft: --antiquant-group-size is 32, but weight1 has 48 rows, which are no whole "},
      {{"run", "ffn", "--x", "a.npy", "--weight1", "b.npy", "--weight2", "c.npy",
        "--antiquant-group-size", "32"},
       "weft: the shape of antiquant_scale1 says how many groups there are: leave "},
      {{"run", "ffn", "--x", "a.npy", "--weight1", "b.npy", "--weight2", "c.npy", "--experts", "2"},
       "weft: --experts and --skew describe random operands: pass --expert-tokens instead.\n"},
      {{"bench", "matmul_allreduce", "4x8:8x2", "--activation", "relu"},
       "weft: --activation belongs to ffn: leave it out with matmul_allreduce.\n"},
      {{"check", "--all", "add_rmsnorm"},
       "weft: --all checks every row of every operator: leave the operator and --row out.\n"},
      {{"check"}, "weft: name an operator, or pass --all.\n"},
      {{"bench", kOp, "4x8:8x2", "--repeat", "3"}, "weft: --repeat: Value 3 not in range "},
  };
  for (const auto& [arguments, message] : cases) {
    const Ran ran = weft(arguments);
    EXPECT_EQ(ran.exit_code, 2) << message;
    EXPECT_EQ(ran.out, "") << message;
    EXPECT_THAT(ran.err, StartsWith(message));
  }
}

TEST(WeftOptionsTest, InfoNamesEveryInstructionSetWithItsReason) {
  const Ran ran = weft({"info", "--isa", "scalar", "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const auto info = tools::JsonValue::parse(ran.out);
  EXPECT_GE(info["topology"]["usable_cpus"].integer(), 1);
  ASSERT_GE(info["isa"].size(), 7u);
  EXPECT_TRUE(info["isa"][0]["used"].boolean());
  for (std::size_t i = 1; i < info["isa"].size(); ++i) {
    EXPECT_FALSE(info["isa"][i]["used"].boolean());
    EXPECT_NE(info["isa"][i]["reason"].string(), "");
  }
  const auto kernels = info["kernels"];
  for (std::size_t i = 0; i < kernels.size(); ++i)
    EXPECT_THAT(kernels[i]["kernel"].string(), HasSubstr("scalar"));
  EXPECT_THAT(weft({"info"}).out, HasSubstr("instruction set"));
}

TEST(WeftOptionsTest, ExplainSaysWhatWasRefused) {
  const Ran ran =
      weft({"explain", kOp, "64x128:128x256", "--ranks", "2", "--isa", "scalar", "--row", "A6"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("m 64 x k 128 x n 256, 2 ranks"));
  EXPECT_THAT(ran.out, HasSubstr("_scalar"));
  EXPECT_THAT(ran.out, HasSubstr("\nrefused "));
  EXPECT_THAT(ran.out, HasSubstr("\ntime "));
}

TEST(WeftOptionsTest, ExplainKnowsEveryOperator) {
  const Ran comm = weft({"explain", "matmul_allreduce", "64x128:128x256", "--ranks", "2", "--row",
                         "Q3", "--with", "comm-quant-scale-1,comm_quant_scale_2"});
  ASSERT_EQ(comm.exit_code, 0) << comm.err;
  EXPECT_THAT(comm.out, HasSubstr("matmul_allreduce 64x128:128x256, row Q3\n"));
  EXPECT_THAT(comm.out, HasSubstr("travelling as int8"));
  const Ran scatter = weft({"explain", "matmul_reduce_scatter", "64x128:128x256", "--ranks", "2"});
  ASSERT_EQ(scatter.exit_code, 0) << scatter.err;
  EXPECT_THAT(scatter.out, HasSubstr("\nrefused "));
  const Ran norm = weft({"explain", "add_rmsnorm", "4x64x256:64x256", "--row", "F32"});
  ASSERT_EQ(norm.exit_code, 0) << norm.err;
  EXPECT_THAT(norm.out, HasSubstr("add_rmsnorm 4x64x256:64x256, row F32\n"));
  EXPECT_THAT(norm.out, ::testing::Not(HasSubstr("refused")));
  EXPECT_THAT(norm.out, HasSubstr("\ntime      at least "));
  const Ran ffn = weft({"explain", "ffn", "48x64:96", "--row", "Q16-f32", "--experts", "4",
                        "--activation", "geglu", "--tokens-are-ends", "--transpose-weight2"});
  ASSERT_EQ(ffn.exit_code, 0) << ffn.err;
  EXPECT_THAT(ffn.out, HasSubstr("ffn 48x64:96x64, row Q16-f32, geglu, 4 experts by ends, weight2 "
                                 "transposed\n"));
  EXPECT_THAT(ffn.out, HasSubstr("\nrefused "));
  EXPECT_THAT(ffn.out, HasSubstr("products at peak "));
}

TEST(WeftOptionsTest, HelpListsEveryOperatorWithItsOperands) {
  for (const char* command : {"run", "bench", "explain"}) {
    const std::string help = weft({command, "--help"}).out;
    EXPECT_THAT(help, HasSubstr("\n  matmul_reduce_scatter\n      output = this rank's rows of "));
    EXPECT_THAT(help, HasSubstr("\n      --x1 --x2 --gamma\n"));
    EXPECT_THAT(help, HasSubstr("\n      U16 U16-fast U16G UB UBG Q16-u64 "));
    EXPECT_THAT(help, HasSubstr("--gate-is-left"));
  }
  const std::string help = weft({"run", "--help"}).out;
  for (const char* option :
       {"--comm-quant-scale-2 FILE.npy", "--x FILE.npy", "--weight2 FILE.npy", "--expert-tokens N,",
        "--deq-scale1 FILE.npy", "--antiquant-offset2 FILE.npy", "--int4", "--tokens-are-ends",
        "--activation NAME", "--inner-precise", "--transpose-weight1", "--experts"})
    EXPECT_THAT(help, HasSubstr(option));
}

}  // namespace
}  // namespace weft::testing
