// SPDX-License-Identifier: Apache-2.0
// What the tool says when it is called wrongly, and its help.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "weft_tool.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kOp = "matmul_allreduce_add_rmsnorm";

TEST(WeftOptionsTest, EveryCommandHasHelpWithExamples) {
  EXPECT_THAT(weft({"--help"}).out, HasSubstr("Exit codes: 0 ok"));
  for (const char* command : {"info", "run", "check", "bench", "explain", "demo"}) {
    const Ran ran = weft({command, "--help"});
    EXPECT_EQ(ran.exit_code, 0) << command;
    EXPECT_EQ(ran.err, "") << command;
    EXPECT_THAT(ran.out, HasSubstr(std::string("\n  weft ") + command)) << command;
  }
}

TEST(WeftOptionsTest, MistakesAreOneMessageAndCodeTwo) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{}, "weft: a command is missing.\nCommands: info, run, check, bench, explain, demo.\n"},
      {{"frobnicate"},
       "weft: unknown command 'frobnicate'.\nCommands: info, run, check, bench, explain, demo.\n"},
      {{"run", "matmul"},
       "weft: unknown operator 'matmul'.\nKnown operators: matmul_allreduce_add_rmsnorm.\n"},
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
  const auto info = nlohmann::json::parse(ran.out);
  EXPECT_GE(info["topology"]["usable_cpus"].get<int>(), 1);
  ASSERT_GE(info["isa"].size(), 7u);
  EXPECT_TRUE(info["isa"][0]["used"].get<bool>());
  for (std::size_t i = 1; i < info["isa"].size(); ++i) {
    EXPECT_FALSE(info["isa"][i]["used"].get<bool>());
    EXPECT_NE(info["isa"][i]["reason"], "");
  }
  for (const auto& kernel : info["kernels"])
    EXPECT_THAT(kernel["kernel"].get<std::string>(), HasSubstr("scalar"));
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

}  // namespace
}  // namespace weft::testing
