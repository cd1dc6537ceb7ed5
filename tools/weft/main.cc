// SPDX-License-Identifier: Apache-2.0
// The command line tool.
#include "commands/commands.h"
#include "jobs/interrupt.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
Examples:
  weft demo
  weft info --measure
  weft run matmul_allreduce_add_rmsnorm --ranks 8 --x1 in/x1_{rank}.npy --x2 in/x2_{rank}.npy \
       --residual in/residual_{rank}.npy --gamma in/gamma.npy --out out
  weft run --ranks 4 -- ./my_program --its-option
  weft check matmul_allreduce_add_rmsnorm 48x1024:1024x4096 --ranks 1,2,4

Exit codes: 0 ok; 1 a check or the operator failed; 2 the command line or a file is wrong;
130 interrupted. Messages go to stderr. 'weft COMMAND --help' explains a command.)";

int run(int argc, char** argv) {
  CommandLine line("weft", "weft: fused compute + communication operators on CPUs");
  line.program().footer(kFooter);
  add_info(line);
  add_run(line);
  add_check(line);
  add_bench(line);
  add_explain(line);
  add_demo(line);
  add_cann_flags(line);
  return line.run(argc, argv);
}

}  // namespace
}  // namespace weft::tools

int main(int argc, char** argv) {
  weft::tools::exit_on_interrupt();
  return weft::tools::run(argc, argv);
}
