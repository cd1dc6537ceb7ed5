// SPDX-License-Identifier: Apache-2.0
// The file of a PackedWeight: a header, then the panels as they lie in memory. Little-endian.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace weft::internal {

static_assert(std::endian::native == std::endian::little, "the file would need its bytes swapped");

/// Raise it when the header changes or a kernel packs other bytes under the same name.
inline constexpr std::uint32_t kPackedWeightFormat = 2;
inline constexpr char kPackedWeightMagic[8] = {'w', 'e', 'f', 't', 'p', 'a', 'c', 'k'};

struct PackedWeightHeader {
  char magic[8];
  std::uint32_t format;
  std::uint32_t header_bytes;      ///< sizeof: where the panels begin
  char kernel[96];                 ///< name, zeros after it; decides the dtype
  std::int64_t experts, k, n, kc;  ///< as in PackedWeightState
  std::int64_t panel_bytes;
  char source[160];               ///< text, zeros after it
  std::uint64_t panels_checksum;  ///< XXH64 of the panels
  std::uint64_t header_checksum;  ///< XXH64 of everything before this field
};
static_assert(sizeof(PackedWeightHeader) == 328);
static_assert(offsetof(PackedWeightHeader, header_checksum) == 320, "no padding before it");

std::uint64_t header_checksum(const PackedWeightHeader& header);

}  // namespace weft::internal
