// SPDX-License-Identifier: Apache-2.0
#include "base/affinity.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace weft {
namespace {

struct FreeCpuSet {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};
using CpuSet = std::unique_ptr<cpu_set_t, FreeCpuSet>;

}  // namespace

// The kernel refuses (EINVAL) a set smaller than the number of cpus it was built for, so the set
// grows until it fits.
std::vector<int> affinity_mask() {
  for (int size = 1024; size <= 1 << 20; size *= 2) {
    const CpuSet set(CPU_ALLOC(size));
    const size_t bytes = CPU_ALLOC_SIZE(size);
    if (!set) break;
    if (sched_getaffinity(0, bytes, set.get()) != 0) {
      if (errno == EINVAL) continue;
      break;
    }
    std::vector<int> cpus;
    for (int cpu = 0; cpu < size; ++cpu)
      if (CPU_ISSET_S(cpu, bytes, set.get())) cpus.push_back(cpu);
    return cpus;
  }
  return {};
}

bool bind_this_thread(const std::vector<int>& cpus) {
  if (cpus.empty()) return false;
  const int size = *std::ranges::max_element(cpus) + 1;
  const CpuSet set(CPU_ALLOC(size));
  if (!set) return false;
  const std::size_t bytes = CPU_ALLOC_SIZE(size);
  CPU_ZERO_S(bytes, set.get());
  for (int cpu : cpus) CPU_SET_S(cpu, bytes, set.get());
  return sched_setaffinity(0, bytes, set.get()) == 0;
}

}  // namespace weft
