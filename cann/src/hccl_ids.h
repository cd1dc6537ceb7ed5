// SPDX-License-Identifier: Apache-2.0
// Ids under which the ranks of a communicator meet.
#pragma once

#include <string>
#include <string_view>

#include "hccl/hccl_types.h"
#include "weft/group.h"

namespace weft::cann {

/// An id in a blob that programs carry around, and back; kInvalidArgument if the blob holds none.
HcclRootInfo to_root_info(const UniqueId& id);
Result<UniqueId> from_root_info(const HcclRootInfo& blob);

/// An id that all who know `secret` can compute, and nobody else.
Result<UniqueId> derive_id(const UniqueId& secret, std::string_view text);

/// The id that all ranks of a job compute from the same text: with the secret of `weft run`, or the
/// job's identifiers of another launcher with that many ranks, or only the text (docs/faults.md).
Result<UniqueId> id_of_job(int ranks, std::string_view text);

/// The name of a communicator that nobody named.
Result<std::string> name_of(const UniqueId& id);

}  // namespace weft::cann
