// SPDX-License-Identifier: Apache-2.0
// Options that several commands share, and what they turn into.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "commands/moe_options.h"
#include "jobs/ranks.h"
#include "operators/cases.h"
#include "terminal/command_line.h"

namespace weft::tools {

void add_operator(Command& command, std::string& name);
/// What every operator computes and takes, for the help of a command.
std::string operators_help();

struct LaunchArguments {
  int ranks = 1;
  int threads = 0;
  std::string isa;
  std::string transport = "processes";
  double timeout_s = 0;
  double connect_timeout_s = 0;
  std::string bind = "none";
  bool pin = false, verbose = false;

  Bind binding() const;
};
void add_launch_options(Command& command, LaunchArguments& arguments, bool with_ranks = true);
/// Checks the name of the ISA here, where one error is enough.
Result<LaunchOptions> launch_options(const LaunchArguments& arguments);
/// Says on stderr what --bind does to the ranks, if --verbose asks or if it does nothing.
void report_binding(const LaunchArguments& arguments);

/// kInvalidArgument if the operator has no calls to trace and files were asked for.
Status check_trace(const Operator& op, bool wanted);

/// A case on the command line: the shape, the row of dtypes and what belongs to random data.
struct CaseArguments {
  std::string shape;
  std::string row;  ///< empty: the first of the operator
  std::vector<std::string> with;
  std::uint64_t seed = 1;
  bool transpose_x2 = false, transpose_weight1 = false, transpose_weight2 = false;
  std::string format = "nd";  ///< of x2 in memory: nd or nz
  std::int64_t group_size = 0;
  std::optional<double> epsilon;
  std::string activation;  ///< empty: gelu; swiglu of rows with a gate
  int inner_precise = -1;  ///< -1: what the row says, else 0
  bool tokens_are_ends = false, gate_is_left = false;
  int experts = 0;
  bool skew = false;
  MoeArguments moe;

  OperandSet transposed() const;
  bool nz_x2() const { return format == "nz"; }
  double epsilon_or_default() const { return epsilon.value_or(1e-6); }
};
/// What describes a call on files as well: how weights lie, --antiquant-group-size, --epsilon and
/// the attributes of ffn and of a mixture.
void add_attribute_options(Command& command, CaseArguments& arguments);
/// The row, the seed and the optional operands of random data.
void add_random_options(Command& command, CaseArguments& arguments);
/// Both and the shape.
void add_case_options(Command& command, CaseArguments& arguments);
/// kInvalidArgument for attributes the operator does not have.
Status check_attributes(const Operator& op, const CaseArguments& arguments);
/// The activation of a name; kInvalidArgument with all names. `row`: of random data.
Result<FfnAttributes> ffn_attributes(const CaseArguments& arguments, const DTypeRow* row);
/// `io`: what --dtype says; picks the row if none is named.
Result<Case> make_case(const Operator& op, const CaseArguments& arguments,
                       std::optional<DType> io = std::nullopt);

/// Prints one message on stderr. Returns the exit code: 2 for what the user can correct in the
/// command line or the files, else 1.
int report_failure(const Status& status);
/// 0, or what report_failure() returns.
int exit_code(const Status& status);

}  // namespace weft::tools
