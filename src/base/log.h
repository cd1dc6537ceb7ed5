// SPDX-License-Identifier: Apache-2.0
// Internal side of weft/log.h.
#pragma once

#include <fmt/core.h>

#include <utility>

#include "weft/log.h"

namespace weft::log {

/// True if a message of this level would reach anybody; ask before formatting on a hot path.
bool enabled(LogLevel level);
void write(LogLevel level, std::string_view text);

template <typename... Args>
void print(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace weft::log
