// SPDX-License-Identifier: Apache-2.0
// What the 128 bytes of a UniqueId hold.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "weft/group.h"

namespace weft::internal {

struct IdContents {
  static constexpr std::array<char, 8> kMagic = {'w', 'e', 'f', 't', '-', 'i', 'd', '1'};
  std::array<char, 8> magic = kMagic;
  /// Which group of the ones formed one after the other with this id.
  std::uint32_t generation = 0;
  std::uint32_t reserved = 0;
  /// Where rank 0 listens. Visible to everybody on the host (/proc/net/unix), so it is independent
  /// of the secret.
  std::array<std::uint64_t, 2> place{};
  std::array<std::uint64_t, 2> secret{};
  std::array<std::byte, 80> zero{};
};
static_assert(sizeof(IdContents) == sizeof(UniqueId::bytes));

/// kInvalidArgument if the bytes are not an id.
Result<IdContents> read_id(const UniqueId& id);
UniqueId make_id(const IdContents& contents);

/// The id all processes of one uid compute from the same text. Its "secret" is no secret: for it,
/// membership rests on the uid that the kernel reports.
UniqueId derive_id(std::string_view text);

/// Name of the rendezvous, also the default name of the group.
std::string rendezvous_name(const IdContents& contents);

}  // namespace weft::internal
