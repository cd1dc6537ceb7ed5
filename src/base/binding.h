// SPDX-License-Identifier: Apache-2.0
// Which cpus each rank of a host gets, so that ranks stay where their memory is: the pages of a
// packed weight, of a window and of scratch lie on the NUMA node of the thread that touched them
// first.
#pragma once

#include <vector>

struct hwloc_topology;

namespace weft {

enum class Bind {
  kNone,    ///< every cpu
  kSocket,  ///< the cpus of a socket, or of several if there are fewer ranks than sockets
  kNuma,    ///< the same with NUMA nodes
  kCore,    ///< a share of the cores; one hardware thread at least
};

/// For each of `ranks` the OS indices of its cpus, among those allowed of a machine. Neighbours in
/// rank are neighbours in the machine, and every part of it gets ranks in proportion to its cpus:
/// where sockets or nodes are equal and there are no fewer ranks than those, no rank is in two. The
/// cpus stand in the order in which a rank's threads should take them: one of each core first.
std::vector<std::vector<int>> cpus_of_ranks(hwloc_topology* machine,
                                            const std::vector<int>& allowed, int ranks, Bind bind);
/// On this machine, within the affinity mask.
std::vector<std::vector<int>> cpus_of_ranks(int ranks, Bind bind);

}  // namespace weft
