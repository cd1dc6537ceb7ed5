// SPDX-License-Identifier: Apache-2.0
// hwloc's picture of a machine, owned.
#pragma once

#include <hwloc.h>

#include <memory>
#include <string>
#include <vector>

namespace weft {

struct DestroyHwloc {
  void operator()(hwloc_topology_t machine) const { hwloc_topology_destroy(machine); }
};
using HwlocTopology = std::unique_ptr<hwloc_topology, DestroyHwloc>;

/// This machine, or one that does not exist: "pack:2 numa:1 core:4 pu:2". Null if hwloc fails.
HwlocTopology load_hwloc(const std::string& synthetic = "");

/// This machine, read once per process, which takes milliseconds. Null if hwloc fails.
hwloc_topology_t this_machine();

/// OS indices, rising.
std::vector<int> cpus_of(hwloc_const_bitmap_t set);

}  // namespace weft
