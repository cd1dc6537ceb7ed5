// SPDX-License-Identifier: Apache-2.0
// The subcommands of weft. Each adds its options, and sets `action` when it is the one asked for.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace weft::tools {

/// Runs the command; returns the exit code.
using Action = std::function<int()>;

void add_info(CLI::App& app, Action& action);
/// `program`: what stood behind "--" on the command line.
void add_run(CLI::App& app, const std::vector<std::string>& program, Action& action);
void add_check(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_demo(CLI::App& app, Action& action);
void add_cann_flags(CLI::App& app, Action& action);

}  // namespace weft::tools
