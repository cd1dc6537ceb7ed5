// SPDX-License-Identifier: Apache-2.0
#include "jobs/binding.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/topology.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

std::string nodes_text(const std::vector<int>& cpus) {
  std::vector<int> nodes;
  for (const NumaNode& node : topology().numa_nodes)
    if (std::ranges::find_first_of(node.cpus, cpus) != node.cpus.end()) nodes.push_back(node.index);
  if (nodes.empty()) return "";
  return fmt::format(" of NUMA node{} {}", nodes.size() > 1 ? "s" : "", cpus_text(nodes));
}

}  // namespace

CpusOfRanks bind_ranks(int ranks, Bind bind) {
  return bind == Bind::kNone ? CpusOfRanks() : cpus_of_ranks(ranks, bind);
}

int threads_of_rank(const CpusOfRanks& cpus, int rank, int usable_cpus) {
  const std::vector<int>& own = cpus[static_cast<std::size_t>(rank)];
  const std::ptrdiff_t of_cpus = std::ssize(own) / std::ranges::count(cpus, own);
  const std::ptrdiff_t of_all = usable_cpus / std::ssize(cpus);
  return static_cast<int>(std::max<std::ptrdiff_t>(1, std::min(of_cpus, of_all)));
}

std::string binding_text(const CpusOfRanks& cpus) {
  std::string text;
  for (std::size_t first = 0, next = 0; first < cpus.size(); first = next) {
    while (next < cpus.size() && cpus[next] == cpus[first]) ++next;
    text += next - first == 1 ? fmt::format("rank {}", first)
                              : fmt::format("ranks {}-{}", first, next - 1);
    text += fmt::format(": cpu{} {}{}\n", cpus[first].size() > 1 ? "s" : "", cpus_text(cpus[first]),
                        nodes_text(cpus[first]));
  }
  return text;
}

std::string binding_remark(Bind bind) {
  const bool one_socket = topology().packages <= 1, one_node = topology().numa_nodes.size() <= 1;
  if (!(bind == Bind::kSocket ? one_socket : bind == Bind::kNuma && one_node)) return "";
  return fmt::format("--bind {}: there is one {}, all ranks share its cpus.\n",
                     bind == Bind::kSocket ? "socket" : "numa",
                     bind == Bind::kSocket ? "socket" : "NUMA node");
}

}  // namespace weft::tools
