// SPDX-License-Identifier: Apache-2.0
#include "base/topology.h"

#include <algorithm>
#include <cmath>

#include "base/affinity.h"
#include "base/cgroup.h"
#include "base/hwloc_topology.h"

namespace weft {
namespace {

std::int64_t cache_bytes(hwloc_topology_t topology, hwloc_obj_type_t type) {
  const hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, 0);
  return cache ? static_cast<std::int64_t>(cache->attr->cache.size) : 0;
}

std::string cpu_model(hwloc_topology_t topology) {
  hwloc_obj_t object = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
  if (!object) object = hwloc_get_root_obj(topology);
  const char* name = hwloc_obj_get_info_by_name(object, "CPUModel");
  return name ? name : "unknown CPU";
}

std::vector<NumaNode> numa_nodes(hwloc_topology_t topology) {
  std::vector<NumaNode> nodes;
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node));)
    nodes.push_back({static_cast<int>(node->os_index), cpus_of(node->cpuset),
                     static_cast<std::int64_t>(node->attr->numanode.local_memory)});
  return nodes;
}

void read_hwloc(Topology& result) {
  const hwloc_topology_t topology = this_machine();
  if (!topology) return;
  const auto count = [&](hwloc_obj_type_t type) {
    return std::max(0, hwloc_get_nbobjs_by_type(topology, type));
  };
  result.cpu_model = cpu_model(topology);
  result.packages = count(HWLOC_OBJ_PACKAGE);
  result.cores = count(HWLOC_OBJ_CORE);
  result.hardware_threads = count(HWLOC_OBJ_PU);
  result.numa_nodes = numa_nodes(topology);
  result.l1d_bytes = cache_bytes(topology, HWLOC_OBJ_L1CACHE);
  result.l2_bytes = cache_bytes(topology, HWLOC_OBJ_L2CACHE);
  result.l3_bytes = cache_bytes(topology, HWLOC_OBJ_L3CACHE);
  result.l3_caches = count(HWLOC_OBJ_L3CACHE);
  result.memory_bytes = static_cast<std::int64_t>(hwloc_get_root_obj(topology)->total_memory);
}

Topology read_topology() {
  Topology result;
  read_hwloc(result);
  result.allowed_cpus = affinity_mask();
  const auto allowed = static_cast<double>(result.allowed_cpus.size());
  // A container's cpuset is in both, because hwloc leaves out what is not in it.
  const double present = std::max<double>(result.hardware_threads, allowed);
  const double quota = std::ceil(cgroup_cpu_quota().value_or(present));
  result.usable_cpus = std::max(1, static_cast<int>(std::min(allowed, quota)));
  result.shared_cpus = std::max(1, static_cast<int>(std::min(present, quota)));
  return result;
}

}  // namespace

const Topology& topology() {
  static const Topology instance = read_topology();
  return instance;
}

}  // namespace weft
