// SPDX-License-Identifier: Apache-2.0
// Ranks are processes of one host (or threads of some of them): memfds mapped by everybody, and a
// pidfd per peer process.
#pragma once

#include <memory>
#include <vector>

#include "comm/transport/mapping.h"
#include "comm/transport/transport.h"
#include "comm/unique_fd.h"

namespace weft::internal {

/// What a rank knows of each rank, itself included, once the group has formed.
struct ShmPeer {
  Mapping mapping;
  /// Readable once the rank's process has ended. Not set: watch says whose pidfd serves.
  UniqueFd pidfd;
  /// The lowest rank of the same process, whose pidfd tells for all of them; -1: our own process.
  int watch = -1;
};

std::unique_ptr<Transport> make_shm(std::vector<ShmPeer> peers);

}  // namespace weft::internal
