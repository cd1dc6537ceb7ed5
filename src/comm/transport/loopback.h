// SPDX-License-Identifier: Apache-2.0
// Ranks are threads of one process.
#pragma once

#include <memory>
#include <vector>

#include "comm/transport/transport.h"
#include "weft/status.h"

namespace weft::internal {

/// One transport per rank over the same memory, which lives until the last of them goes: a rank may
/// leave while others still read its window.
Result<std::vector<std::unique_ptr<Transport>>> make_loopback(int ranks, std::int64_t window_bytes);

}  // namespace weft::internal
