// SPDX-License-Identifier: Apache-2.0
#include "terminal/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace weft::tools {

Option& Option::type(const char* name) {
  option_->type_name(name);
  return *this;
}

Option& Option::group(const char* name) {
  option_->group(name);
  return *this;
}

Option& Option::show_default() {
  option_->capture_default_str();
  return *this;
}

Option& Option::range(int low, int high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option& Option::positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

Option& Option::one_of(std::vector<std::string> values) {
  option_->check(CLI::IsMember(std::move(values)));
  return *this;
}

Option& Option::existing_file() {
  option_->check(CLI::ExistingFile);
  return *this;
}

Option& Option::with_commas() {
  option_->delimiter(',');
  return *this;
}

Option Command::add(const std::string& names, bool& flag, const std::string& help) {
  return Option(app_->add_flag(names, flag, help));
}
Option Command::add(const std::string& names, int& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}
Option Command::add(const std::string& names, std::int64_t& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}
Option Command::add(const std::string& names, std::uint64_t& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}
Option Command::add(const std::string& names, double& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}
Option Command::add(const std::string& names, std::optional<double>& value,
                    const std::string& help) {
  return Option(app_->add_option(names, value, help));
}
Option Command::add(const std::string& names, std::string& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}
Option Command::add(const std::string& names, std::vector<int>& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}
Option Command::add(const std::string& names, std::vector<std::string>& value,
                    const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

bool Command::given(const char* name) const { return app_->count(name) > 0; }

void Command::footer(const std::string& text) { app_->footer(text); }

CommandLine::CommandLine(const char* program, const char* what_it_is)
    : app_(std::make_unique<CLI::App>(what_it_is, program)), program_(app_.get()) {
  app_->get_formatter()->column_width(34);
}

CommandLine::~CommandLine() = default;

Command& CommandLine::add_command(const char* name, const char* what_it_does,
                                  std::function<int()> run) {
  app_->require_subcommand(1);
  CLI::App* const command = app_->add_subcommand(name, what_it_does);
  return commands_.emplace_back(new Entry{Command(command), std::move(run)})->command;
}

/// Empty if the first argument is a command or an option, or if there are no commands.
std::string CommandLine::command_problem(const std::vector<std::string>& arguments) const {
  if (commands_.empty() || (!arguments.empty() && arguments[0].starts_with('-'))) return {};
  std::vector<std::string> names;
  for (const auto& entry : commands_) {
    const std::string& name = entry->command.app_->get_name();
    if (!arguments.empty() && name == arguments[0]) return {};
    names.push_back(name);
  }
  const std::string what = arguments.empty() ? "a command is missing"
                                             : fmt::format("unknown command '{}'", arguments[0]);
  return fmt::format("{}.\nCommands: {}.", what, fmt::join(names, ", "));
}

int CommandLine::mistake(std::string_view text, std::string_view command) const {
  fmt::print(stderr, "{0}: {1}\nSee {0}{2}{3} --help.\n", app_->get_name(), text,
             command.empty() ? "" : " ", command);
  return kUsageExit;
}

std::optional<int> CommandLine::parse(int argc, char** argv) {
  // What stands behind "--" belongs to another program: CLI11 must not look at it.
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto split = std::find(arguments.begin(), arguments.end(), "--");
  const bool has_program = split != arguments.end();
  if (has_program) behind_dashes_.assign(split + 1, arguments.end());
  arguments.erase(split, arguments.end());
  if (const std::string problem = command_problem(arguments); !problem.empty())
    return mistake(problem, "");
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app_->parse(arguments);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app_->help());
    return 0;
  } catch (const CLI::ParseError& error) {
    const auto named = app_->get_subcommands();
    return mistake(error.what(), named.empty() ? "" : named[0]->get_name());
  }
  if (!has_program) return std::nullopt;
  std::string takers;
  for (const auto& entry : commands_) {
    if (!entry->command.takes_program_) continue;
    takers = entry->command.app_->get_name();
    if (entry->command.app_->parsed()) return std::nullopt;
  }
  return mistake(takers.empty() ? "there is no use for what stands behind '--'."
                                : fmt::format("a program behind '--' belongs to {} {}.",
                                              app_->get_name(), takers),
                 takers);
}

int CommandLine::run(int argc, char** argv) {
  if (const std::optional<int> exit_code = parse(argc, argv)) return *exit_code;
  for (const auto& entry : commands_)
    if (entry->command.app_->parsed()) return entry->run();
  return mistake("a command is missing.", "");
}

}  // namespace weft::tools
