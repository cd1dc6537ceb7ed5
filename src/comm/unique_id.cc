// SPDX-License-Identifier: Apache-2.0
#include "comm/unique_id.h"

#include <fmt/core.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "comm/hash.h"

namespace weft {
namespace internal {
namespace {

Status fill_random(void* to, std::size_t bytes) {
  auto* next = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = getrandom(next, bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return Status(StatusCode::kInternal, fmt::format("getrandom: {}", std::strerror(errno)));
    next += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return {};
}

}  // namespace

Result<IdContents> read_id(const UniqueId& id) {
  IdContents contents;
  std::memcpy(&contents, id.bytes.data(), sizeof contents);
  if (contents.magic != IdContents::kMagic)
    return Status(StatusCode::kInvalidArgument,
                  "group: the unique id was not made by UniqueId::create; make one on one rank and "
                  "hand the same to all");
  return contents;
}

UniqueId make_id(const IdContents& contents) {
  UniqueId id;
  std::memcpy(id.bytes.data(), &contents, sizeof contents);
  return id;
}

UniqueId derive_id(std::string_view text) {
  const std::string full = fmt::format("uid={};{}", geteuid(), text);
  IdContents contents;
  std::uint64_t state = kHashSeed;
  for (std::uint64_t* word :
       {&contents.place[0], &contents.place[1], &contents.secret[0], &contents.secret[1]})
    *word = state = hash(state, full);
  return make_id(contents);
}

std::string rendezvous_name(const IdContents& contents) {
  std::string name = fmt::format("weft-{:016x}{:016x}", contents.place[0], contents.place[1]);
  if (contents.generation > 0) name += fmt::format("-{}", contents.generation);
  return name;
}

}  // namespace internal

Result<UniqueId> UniqueId::create() {
  internal::IdContents contents;
  WEFT_RETURN_IF_ERROR(internal::fill_random(&contents.place, sizeof contents.place));
  WEFT_RETURN_IF_ERROR(internal::fill_random(&contents.secret, sizeof contents.secret));
  return internal::make_id(contents);
}

std::string UniqueId::to_hex() const {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

Result<UniqueId> UniqueId::from_hex(std::string_view hex) {
  UniqueId id;
  if (hex.size() != 2 * id.bytes.size())
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("unique id: the text has {} characters but must have {} hex digits",
                              hex.size(), 2 * id.bytes.size()));
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    unsigned byte = 0;
    const char* digits = hex.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, byte, 16);
    if (error != std::errc() || end != digits + 2)
      return Status(StatusCode::kInvalidArgument,
                    fmt::format("unique id: \"{}\" at position {} is not a hex digit pair",
                                std::string_view(digits, 2), 2 * i));
    id.bytes[i] = static_cast<std::byte>(byte);
  }
  WEFT_ASSIGN_OR_RETURN([[maybe_unused]] const internal::IdContents contents,
                        internal::read_id(id));
  return id;
}

}  // namespace weft
