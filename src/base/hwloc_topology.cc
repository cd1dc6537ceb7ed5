// SPDX-License-Identifier: Apache-2.0
#include "base/hwloc_topology.h"

#include <utility>

namespace weft {

HwlocTopology load_hwloc(const std::string& synthetic) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  HwlocTopology machine(raw);
  if (!synthetic.empty() && hwloc_topology_set_synthetic(raw, synthetic.c_str()) != 0)
    return nullptr;
  return hwloc_topology_load(raw) == 0 ? std::move(machine) : nullptr;
}

hwloc_topology_t this_machine() {
  static const HwlocTopology machine = load_hwloc();
  return machine.get();
}

std::vector<int> cpus_of(hwloc_const_bitmap_t set) {
  std::vector<int> cpus;
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu))
    cpus.push_back(cpu);
  return cpus;
}

}  // namespace weft
