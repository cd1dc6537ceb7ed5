// SPDX-License-Identifier: Apache-2.0
// A rank that has joined, as rank 0 holds it.
#pragma once

#include <vector>

#include "comm/rendezvous/rendezvous.h"

namespace weft::internal {

struct Member {
  Hello hello;
  int pid = 0;  ///< 0: in a pid namespace that is not ours
  UniqueFd socket, file, pidfd;
};

/// Once all have joined: maps everybody, hands everybody everybody's segment and pidfd, and lets
/// them go when all are ready. On an error the caller tells the members.
Result<std::vector<ShmPeer>> hand_out_segments(const Forming& forming, const UniqueFd& own_file,
                                               const UniqueFd& own_pidfd,
                                               std::vector<Member>& members);

}  // namespace weft::internal
