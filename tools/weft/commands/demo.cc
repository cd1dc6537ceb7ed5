// SPDX-License-Identifier: Apache-2.0
// weft demo: a whole job once, checked, timed and drawn.
#include "commands/demo.h"

#include <memory>

#include "commands/commands.h"
#include "files/file_io.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
matmul: eight rank processes, each with x1 (4, 1024, 1024) and x2 (1024, 8192) in float16, compute
y = sum over ranks of x1 x2 + residual and norm_out = rmsnorm(y) gamma, with (4, 1024, 8192)
results on every rank. Needs about 4 GiB of memory.

moe: eight rank processes, each with 256 tokens and 8 of 64 experts, compute a mixture-of-experts
layer in bfloat16: gate, dispatch, experts, a shared expert, combine + residual + RMSNorm. Needs
about 2 GiB of memory.

Examples:
  weft demo
  weft demo moe
  weft demo --out /tmp)";

}  // namespace

Result<DemoSetup> set_up_demo(const DemoArguments& arguments, std::string_view name) {
  WEFT_RETURN_IF_ERROR(make_folder(arguments.out));
  LaunchArguments launch = arguments.launch;
  launch.ranks = kDemoRanks;
  DemoSetup setup;
  WEFT_ASSIGN_OR_RETURN(setup.launch, launch_options(launch));
  const std::string base = arguments.out == "." ? "" : arguments.out + "/";
  setup.files = {fmt::format("{}{}-trace.json", base, name),
                 fmt::format("{}{}-timeline.svg", base, name)};
  WEFT_RETURN_IF_ERROR(check_trace_files(setup.files));
  return setup;
}

void add_demo(CommandLine& line) {
  auto arguments = std::make_shared<DemoArguments>();
  auto job = std::make_shared<std::string>("matmul");
  Command& command = line.add_command(
      "demo", "Run a whole job on 8 ranks, check it, time it, draw it", [arguments, job] {
        const bool moe = *job == "moe";
        return exit_code(moe ? demo_moe(*arguments) : demo_matmul(*arguments));
      });
  command.add("job", *job, "matmul + all-reduce + add + RMSNorm, or a mixture-of-experts layer")
      .one_of({"matmul", "moe"})
      .show_default();
  command.add("--out", arguments->out, "Folder for the timeline and the trace")
      .type("DIR")
      .show_default();
  add_launch_options(command, arguments->launch, false);
  command.footer(kFooter);
}

}  // namespace weft::tools
