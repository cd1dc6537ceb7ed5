// SPDX-License-Identifier: Apache-2.0
// What this process may use of the machine, from hwloc and the cgroup.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weft {

struct NumaNode {
  int index = 0;          ///< of the OS
  std::vector<int> cpus;  ///< none: memory only
  std::int64_t memory_bytes = 0;
};

struct Topology {
  std::string cpu_model;
  int packages = 0, cores = 0, hardware_threads = 0;
  std::vector<NumaNode> numa_nodes;
  std::int64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;  ///< of one cache, 0 if unknown
  int l3_caches = 0;                                       ///< 0 if unknown
  std::int64_t memory_bytes = 0;
  int usable_cpus = 1;  ///< affinity mask, cut by the cgroup's cpu quota (rounded up), at least 1
  int shared_cpus = 1;  ///< what all processes together may use: the same without the affinity mask
  std::vector<int> allowed_cpus;  ///< OS indices of the affinity mask
};

/// Read once per process; the affinity mask is that of the first thread that asks.
const Topology& topology();

}  // namespace weft
