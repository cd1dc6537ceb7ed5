// SPDX-License-Identifier: Apache-2.0
// Options that several commands share, and what they turn into.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "cases.h"
#include "ranks.h"

namespace weft::tools {

inline constexpr std::string_view kOperator = "matmul_allreduce_add_rmsnorm";
/// kInvalidArgument with the list of operators.
Status check_operator(const std::string& name);
void add_operator(CLI::App& command, std::string& name);

struct LaunchArguments {
  int ranks = 1;
  int threads = 0;
  std::string isa;
  std::string transport = "processes";
  double timeout_s = 0;
  double connect_timeout_s = 0;
  bool pin = false;
};
void add_launch_options(CLI::App& command, LaunchArguments& arguments, bool with_ranks = true);
/// Checks the name of the ISA here, where one error is enough.
Result<LaunchOptions> launch_options(const LaunchArguments& arguments);

/// A case on the command line: the shape, the row of dtypes and what belongs to random data.
struct CaseArguments {
  std::string shape;
  std::string row = "A1";
  std::uint64_t seed = 1;
  bool transpose_x2 = false;
  std::int64_t group_size = 0;
  double epsilon = 1e-6;
};
void add_case_options(CLI::App& command, CaseArguments& arguments);
Result<Case> make_case(const CaseArguments& arguments);

std::optional<DType> io_dtype_from_text(const std::string& text);  ///< "bf16", "float16", …

/// Prints one message on stderr. Returns the exit code: 2 for what the user can correct in the
/// command line or the files, else 1.
int report_failure(const Status& status);

inline constexpr int kFailedExit = 1, kUsageExit = 2;

}  // namespace weft::tools
