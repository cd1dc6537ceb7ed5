// SPDX-License-Identifier: Apache-2.0
// Rank, size and a common id from the environment a launcher made.
#pragma once

#include "weft/group.h"

namespace weft::internal {

struct Membership {
  UniqueId id;
  int rank = 0, ranks = 0;
};

/// Looks for `weft run`, torchrun, Open MPI, PMI (MPICH, Intel MPI), srun, in this order. Only
/// `weft run` hands out a secret; for the others all ranks compute the id from the job's own
/// identifiers, and membership rests on the uid the kernel reports for a peer.
/// kInvalidArgument lists what was looked for; kUnimplemented if the job spans hosts.
Result<Membership> membership_from_environment();

}  // namespace weft::internal
