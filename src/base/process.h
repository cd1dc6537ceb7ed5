// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft {

/// getpid(), at the price of a load: for calls that ask each time whether a fork has taken them
/// into another process, where threads and memberships of the parent are none.
std::int32_t this_process();

}  // namespace weft
