// SPDX-License-Identifier: Apache-2.0
#include "base/env.h"

#include <cassert>
#include <charconv>
#include <cstdlib>
#include <mutex>

#include "base/log.h"

extern char** environ;

namespace weft::env {
namespace {

constexpr Variable kTable[] = {
#define WEFT_ENV(name, default_text, meaning) {name, default_text, meaning},
#include "base/env.inc"
#undef WEFT_ENV
};

const Variable* find(std::string_view name) {
  for (const Variable& row : kTable)
    if (row.name == name) return &row;
  return nullptr;
}

template <typename Number>
Result<Number> parse(std::string_view name, Number least, Number most) {
  const std::string value = text(name);
  Number number{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool in_range = number >= least && number <= most;  // false for nan
  if (error != std::errc() || end != value.data() + value.size() || !in_range)
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("environment variable {} is \"{}\" but must be a number from {} to {}", name,
                    value, least, most));
  return number;
}

}  // namespace

std::span<const Variable> table() { return kTable; }

std::string text(std::string_view name) {
  const Variable* row = find(name);
  assert(row && "not in env.inc");
  const char* value = std::getenv(row->name.data());
  return value && *value ? std::string(value) : std::string(row->default_text);
}

Result<std::int64_t> integer(std::string_view name, std::int64_t least, std::int64_t most) {
  return parse<std::int64_t>(name, least, most);
}

Result<double> seconds(std::string_view name) { return parse<double>(name, 0.0, 1e9); }

void warn_unknown_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (char** entry = environ; *entry; ++entry) {
      const std::string_view assignment(*entry);
      const std::string_view name = assignment.substr(0, assignment.find('='));
      if (name.starts_with("WEFT_") && !find(name))
        log::print(LogLevel::kWarning,
                   "environment variable {} is not one of weft's (see docs/environment.md)", name);
    }
  });
}

}  // namespace weft::env
