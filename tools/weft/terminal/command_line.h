// SPDX-License-Identifier: Apache-2.0
// Commands and their options. The one place that knows CLI11, whose headers take longer to compile
// than all of the tool's own code.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace weft::tools {

inline constexpr int kFailedExit = 1, kUsageExit = 2;

/// An option or an operand of a command. Each method adds to it and returns it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  /// What stands for the value in the help: "FILE.npy".
  Option& type(const char* name);
  /// The heading in the help under which it stands.
  Option& group(const char* name);
  Option& show_default();
  Option& range(int low, int high);
  Option& positive();
  Option& one_of(std::vector<std::string> values);
  Option& existing_file();
  /// A list may be written with commas.
  Option& with_commas();

 private:
  CLI::Option* option_;
};

/// `names` as CLI11 takes them: "--seed", or "shape,--random" for what may also stand alone. The
/// value is written to `value` when the command line is read; it outlives the command line.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}
  Option add(const std::string& names, bool& flag, const std::string& help);
  Option add(const std::string& names, int& value, const std::string& help);
  Option add(const std::string& names, std::int64_t& value, const std::string& help);
  Option add(const std::string& names, std::uint64_t& value, const std::string& help);
  Option add(const std::string& names, double& value, const std::string& help);
  Option add(const std::string& names, std::optional<double>& value, const std::string& help);
  Option add(const std::string& names, std::string& value, const std::string& help);
  Option add(const std::string& names, std::vector<int>& value, const std::string& help);
  Option add(const std::string& names, std::vector<std::string>& value, const std::string& help);
  /// The option of this name stands on the command line.
  bool given(const char* name) const;
  /// What stands at the end of the help.
  void footer(const std::string& text);
  /// The program behind "--" is for this command.
  void takes_program() { takes_program_ = true; }

 private:
  friend class CommandLine;
  CLI::App* app_;
  bool takes_program_ = false;
};

/// A program's command line. With commands one of them has to be named.
class CommandLine {
 public:
  CommandLine(const char* program, const char* what_it_is);
  ~CommandLine();

  /// Without commands: what the program itself takes.
  Command& program() { return program_; }
  /// `run` returns the exit code. The command lives as long as the command line.
  Command& add_command(const char* name, const char* what_it_does, std::function<int()> run);
  /// What stood behind "--" when one of the commands runs.
  const std::vector<std::string>& program_arguments() const { return behind_dashes_; }

  /// Reads the arguments. An exit code if there is no more to do: help was asked for (0) or there
  /// is a mistake, which was reported (2).
  std::optional<int> parse(int argc, char** argv);
  /// Reads the arguments and runs the command that they name.
  int run(int argc, char** argv);

 private:
  std::string command_problem(const std::vector<std::string>& arguments) const;
  int mistake(std::string_view text, std::string_view command) const;

  struct Entry {
    Command command;
    std::function<int()> run;
  };
  std::unique_ptr<CLI::App> app_;
  Command program_;
  std::vector<std::unique_ptr<Entry>> commands_;
  std::vector<std::string> behind_dashes_;
};

}  // namespace weft::tools
