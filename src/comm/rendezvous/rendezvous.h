// SPDX-License-Identifier: Apache-2.0
// How processes of one host become a group. Rank 0 listens on a unix socket in the abstract
// namespace: no file, no port, out of reach of the network, gone with the process. The others
// connect, prove that they know the id's secret and hand over their segment; rank 0 hands everybody
// everybody's. Afterwards only mappings and one pidfd per peer process stay open.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/control_block.h"
#include "comm/rendezvous/packet.h"
#include "comm/transport/shm.h"
#include "comm/unique_id.h"
#include "weft/group.h"

namespace weft::internal {

/// Handing out the segments takes milliseconds; it gets this long even if the last rank came at the
/// deadline.
inline constexpr std::int64_t kHandOutNs = 10'000'000'000;

/// One rank's side of the forming group. Options are resolved.
struct Forming {
  IdContents id;
  int rank = 0, ranks = 0;
  GroupOptions options;
  Until until;

  SegmentLayout layout() const { return {options.window_bytes, ranks}; }
  /// Why it has not formed: `failure`, unless the program has ended the wait.
  Status why(const Status& failure) const;
};

/// Rank 0's side and everybody else's. Collective; the result has one entry per rank.
Result<std::vector<ShmPeer>> host_group(const Forming& forming);
Result<std::vector<ShmPeer>> join_group(const Forming& forming);

/// Changes with everything that processes of a group must understand alike.
constexpr std::uint64_t shared_layout() {
  constexpr std::uint64_t kVersion = 3;
  return kVersion << 48 | std::uint64_t{sizeof(ControlBlock)} << 16 |
         (sizeof(Hello) + sizeof(Message));
}

Hello make_hello(const Forming& forming);

struct RendezvousAddress {
  sockaddr_un address{};
  socklen_t length = 0;
  explicit RendezvousAddress(const IdContents& id);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

}  // namespace weft::internal
