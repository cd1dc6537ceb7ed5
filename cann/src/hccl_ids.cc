// SPDX-License-Identifier: Apache-2.0
#include "hccl_ids.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "comm/hash.h"
#include "comm/launcher.h"
#include "comm/unique_id.h"

namespace weft::cann {
namespace {

/// How a root info begins; the rest is zero.
struct Blob {
  static constexpr std::array<char, 16> kMagic = {'w', 'e', 'f', 't', '-', 'r', 'o',
                                                  'o', 't', '-', 'i', 'n', 'f', 'o'};
  static constexpr std::uint32_t kVersion = 1;
  std::array<char, 16> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t bytes = sizeof(UniqueId);
  UniqueId id;
};
static_assert(sizeof(Blob) <= sizeof(HcclRootInfo));

}  // namespace

HcclRootInfo to_root_info(const UniqueId& id) {
  HcclRootInfo info{};
  Blob blob;
  blob.id = id;
  std::memcpy(info.internal, &blob, sizeof blob);
  return info;
}

Result<UniqueId> from_root_info(const HcclRootInfo& info) {
  Blob blob;
  std::memcpy(&blob, info.internal, sizeof blob);
  if (blob.magic != Blob::kMagic || blob.version != Blob::kVersion || blob.bytes != sizeof blob.id)
    return Status(StatusCode::kInvalidArgument,
                  "rootInfo was not made by HcclGetRootInfo of this version, or not all of its "
                  "bytes arrived; make one on one rank and hand the same to all");
  WEFT_ASSIGN_OR_RETURN([[maybe_unused]] const auto contents, internal::read_id(blob.id));
  return blob.id;
}

// The place is computed from the place alone, because everybody on the host can see it.
Result<UniqueId> derive_id(const UniqueId& secret, std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(internal::IdContents contents, internal::read_id(secret));
  contents.generation = 0;
  for (auto* words : {&contents.place, &contents.secret})
    for (std::uint64_t& word : *words) word = internal::hash(word, text);
  return internal::make_id(contents);
}

Result<UniqueId> id_of_job(int ranks, std::string_view text) {
  const Result<internal::Membership> job = internal::membership_from_environment();
  if (job.ok() && job->ranks == ranks) return derive_id(job->id, text);
  return internal::derive_id(text);
}

Result<std::string> name_of(const UniqueId& id) {
  WEFT_ASSIGN_OR_RETURN(const internal::IdContents contents, internal::read_id(id));
  return internal::rendezvous_name(contents);
}

}  // namespace weft::cann
