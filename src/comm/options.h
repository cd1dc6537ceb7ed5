// SPDX-License-Identifier: Apache-2.0
// GroupOptions with every default filled in.
#pragma once

#include "weft/group.h"

namespace weft::internal {

/// More than any host runs; keeps tables and messages bounded whatever a peer claims.
inline constexpr int kMaxRanks = 4096;
inline constexpr std::size_t kMaxNameLength = 127;

/// Checks ranks and options, and takes from the environment what they leave open. Afterwards
/// window_bytes is a whole number of pages and exec_timeout_s is negative for "for ever".
Result<GroupOptions> resolve(int ranks, const GroupOptions& options);
/// exec_timeout_s alone.
Result<double> resolve_exec_timeout(double seconds);

}  // namespace weft::internal
