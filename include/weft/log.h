// SPDX-License-Identifier: Apache-2.0
// weft never prints. What it has to say beside a Status goes to one callback of the process.
#pragma once

#include <functional>
#include <string_view>

#include "weft/export.h"

namespace weft {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

using LogCallback = std::function<void(LogLevel, std::string_view)>;

/// Replaces the callback of this process; an empty one silences weft. The default writes to stderr
/// what WEFT_VERBOSE lets through (0, the default: nothing; 3: everything).
WEFT_API void set_log_callback(LogCallback callback);

}  // namespace weft
