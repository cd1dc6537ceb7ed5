// SPDX-License-Identifier: Apache-2.0
// Which cpus the calling thread may run on.
#pragma once

#include <vector>

namespace weft {

/// OS indices, rising; empty if the kernel says nothing.
std::vector<int> affinity_mask();

/// Lets the calling thread, and threads it will start, run on these cpus only. False if the OS
/// refused.
bool bind_this_thread(const std::vector<int>& cpus);

}  // namespace weft
