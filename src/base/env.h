// SPDX-License-Identifier: Apache-2.0
// Environment variables: one table (env.inc), read through these functions only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "weft/status.h"

namespace weft::env {

struct Variable {
  std::string_view name, default_text, meaning;
};
std::span<const Variable> table();

/// The text of a variable of the table, or its default. A name not in the table is a bug
/// (asserted).
std::string text(std::string_view name);
/// The same as a number; kInvalidArgument naming the variable and its text if it is not one or out
/// of range.
Result<std::int64_t> integer(std::string_view name, std::int64_t least, std::int64_t most);
Result<double> seconds(std::string_view name);

/// Logs a warning, once per process, for every variable that starts with WEFT_ and is not in the
/// table.
void warn_unknown_once();

}  // namespace weft::env
