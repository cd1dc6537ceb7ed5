// SPDX-License-Identifier: Apache-2.0
// FNV-1a: tells accidental differences apart. Not a defence against anybody.
#pragma once

#include <cstdint>
#include <string_view>

namespace weft::internal {

inline constexpr std::uint64_t kHashSeed = 0xcbf29ce484222325;

constexpr std::uint64_t hash(std::uint64_t seed, std::string_view bytes) {
  for (const char byte : bytes) seed = (seed ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return seed;
}

}  // namespace weft::internal
