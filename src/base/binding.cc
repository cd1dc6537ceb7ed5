// SPDX-License-Identifier: Apache-2.0
#include "base/binding.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "base/hwloc_topology.h"
#include "base/topology.h"

namespace weft {
namespace {

struct FreeBitmap {
  void operator()(hwloc_bitmap_t set) const { hwloc_bitmap_free(set); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

// A copy that has the allowed cpus only; null if it would have none.
HwlocTopology restricted(hwloc_topology* machine, const std::vector<int>& allowed) {
  const Bitmap set(hwloc_bitmap_alloc());
  for (int cpu : allowed) hwloc_bitmap_set(set.get(), static_cast<unsigned>(cpu));
  hwloc_topology_t copy = nullptr;
  if (!machine || hwloc_topology_dup(&copy, machine) != 0) return nullptr;
  HwlocTopology result(copy);
  return hwloc_topology_restrict(copy, set.get(), HWLOC_RESTRICT_FLAG_REMOVE_CPULESS) == 0
             ? std::move(result)
             : nullptr;
}

// Where in hwloc's tree of cpus a NUMA node hangs. Memory of another kind may hang higher up.
int depth_of_numa_nodes(hwloc_topology_t machine) {
  int deepest = 0;
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_NUMANODE, node));) {
    hwloc_obj_t parent = node->parent;
    while (parent && hwloc_obj_type_is_memory(parent->type)) parent = parent->parent;
    if (parent) deepest = std::max(deepest, parent->depth);
  }
  return deepest;
}

// How far down ranks are parted from each other: 0, not at all.
int depth_of(hwloc_topology_t machine, Bind bind) {
  switch (bind) {
    case Bind::kNone:
      return 0;
    case Bind::kSocket:
      return std::max(0, hwloc_get_type_depth(machine, HWLOC_OBJ_PACKAGE));
    case Bind::kNuma:
      return depth_of_numa_nodes(machine);
    case Bind::kCore:
      return std::numeric_limits<int>::max();
  }
  return 0;
}

// One hardware thread of each core, then the second ones, …
std::vector<int> cores_first(hwloc_topology_t machine, hwloc_const_bitmap_t set) {
  std::map<hwloc_obj_t, int> seen;  // of each core
  std::vector<std::pair<int, int>> order;
  for (hwloc_obj_t pu = nullptr;
       (pu = hwloc_get_next_obj_inside_cpuset_by_type(machine, set, HWLOC_OBJ_PU, pu));) {
    const hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_CORE, pu);
    order.emplace_back(core ? seen[core]++ : 0, static_cast<int>(pu->os_index));
  }
  std::ranges::stable_sort(order, {}, &std::pair<int, int>::first);
  std::vector<int> cpus;
  for (const auto& [turn, cpu] : order) cpus.push_back(cpu);
  return cpus;
}

}  // namespace

std::vector<std::vector<int>> cpus_of_ranks(hwloc_topology* machine,
                                            const std::vector<int>& allowed, int ranks, Bind bind) {
  const auto count = static_cast<std::size_t>(ranks);
  const HwlocTopology part = restricted(machine, allowed);
  if (!part) return std::vector(count, allowed);
  std::vector<hwloc_cpuset_t> sets(count, nullptr);
  hwloc_obj_t root = hwloc_get_root_obj(part.get());
  hwloc_distrib(part.get(), &root, 1, sets.data(), static_cast<unsigned>(ranks),
                depth_of(part.get(), bind), 0);
  std::vector<std::vector<int>> result;
  for (hwloc_cpuset_t raw : sets) {
    const Bitmap set(raw);
    result.push_back(cores_first(part.get(), set.get()));
  }
  return result;
}

std::vector<std::vector<int>> cpus_of_ranks(int ranks, Bind bind) {
  return cpus_of_ranks(this_machine(), topology().allowed_cpus, ranks, bind);
}

}  // namespace weft
