// SPDX-License-Identifier: Apache-2.0
// weft run --bind: which cpus each rank of a launch runs on.
#pragma once

#include <string>
#include <vector>

#include "base/binding.h"

namespace weft::tools {

/// Of each rank; empty if they are not bound.
using CpusOfRanks = std::vector<std::vector<int>>;

CpusOfRanks bind_ranks(int ranks, Bind bind);

/// How many threads a rank has when nobody says: its part of its cpus, which it shares with the
/// ranks that have the same ones, but not more than its part of all that may be used: a quota may
/// allow less than the cpus.
int threads_of_rank(const CpusOfRanks& cpus, int rank, int usable_cpus);

/// Which ranks got which cpus of which NUMA nodes, a line for neighbours with the same cpus.
std::string binding_text(const CpusOfRanks& cpus);

/// What those who asked for sockets or nodes should know where there is one; else empty.
std::string binding_remark(Bind bind);

}  // namespace weft::tools
