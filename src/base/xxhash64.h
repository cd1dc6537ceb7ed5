// SPDX-License-Identifier: Apache-2.0
// XXH64 (Yann Collet's xxHash), seed 0: finds damage in files at the speed of memory. Not a defence
// against anybody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft {

std::uint64_t xxhash64(std::span<const std::byte> bytes);

}  // namespace weft
