// SPDX-License-Identifier: Apache-2.0
// The command line tool.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "commands.h"
#include "interrupt.h"
#include "options.h"

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

/// Empty if the first argument is a command or an option.
std::string command_problem(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0].starts_with('-')) return {};
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!arguments.empty() && command->get_name() == arguments[0]) return {};
    names.push_back(command->get_name());
  }
  const std::string what = arguments.empty() ? "a command is missing"
                                             : fmt::format("unknown command '{}'", arguments[0]);
  return fmt::format("{}.\nCommands: {}.", what, fmt::join(names, ", "));
}

int run(int argc, char** argv) {
  // What stands behind "--" belongs to another program: CLI11 must not look at it.
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto split = std::find(arguments.begin(), arguments.end(), "--");
  std::vector<std::string> program;
  if (split != arguments.end()) program.assign(split + 1, arguments.end());
  const bool has_program = split != arguments.end();
  arguments.erase(split, arguments.end());

  CLI::App app("weft: fused compute + communication operators on CPUs", "weft");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  Action action;
  add_info(app, action);
  add_run(app, program, action);
  add_check(app, action);
  add_bench(app, action);
  add_explain(app, action);
  add_demo(app, action);
  add_cann_flags(app, action);
  if (const std::string problem = command_problem(app, arguments); !problem.empty()) {
    fmt::print(stderr, "weft: {}\nSee weft --help.\n", problem);
    return kUsageExit;
  }
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    const auto commands = app.get_subcommands();
    fmt::print(stderr, "weft: {}\nSee weft{} --help.\n", error.what(),
               commands.empty() ? "" : " " + commands[0]->get_name());
    return kUsageExit;
  }
  if (has_program && !app.got_subcommand("run")) {
    fmt::print(stderr, "weft: a program behind '--' belongs to weft run.\nSee weft run --help.\n");
    return kUsageExit;
  }
  return action();
}

}  // namespace
}  // namespace weft::tools

int main(int argc, char** argv) {
  weft::tools::exit_on_interrupt();
  return weft::tools::run(argc, argv);
}
