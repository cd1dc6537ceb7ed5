// SPDX-License-Identifier: Apache-2.0
// What the operating system makes of memory that asks for huge pages.
#pragma once

#include <string>

#include "jobs/ranks.h"
#include "weft/memory_use.h"
#include "weft/status.h"

namespace weft::tools {

/// Of a window of `ranks` ranks of this kind, 16 MiB long, made as a group makes it and touched.
Result<MemoryUse> try_window(RankKind kind, int ranks);

/// "16.0 MiB, of which 14.0 MiB in huge pages", or why that is not known.
std::string memory_text(const Result<MemoryUse>& use);
/// The same of such a window, and if it got none, why.
std::string window_text(RankKind kind, int ranks);

}  // namespace weft::tools
