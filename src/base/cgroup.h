// SPDX-License-Identifier: Apache-2.0
// The cpu quota that the cgroups of this process set.
#pragma once

#include <optional>
#include <string>

namespace weft {

/// Least quota of the process's cgroup and its ancestors, in cpus (1.5 is one and a half), from
/// cpu.max (version 2) and cpu.cfs_quota_us (version 1). nullopt: none. Every path is read below
/// `root`, so that a test can lay out its own files; empty stands for the real ones.
std::optional<double> cgroup_cpu_quota(const std::string& root = "");

}  // namespace weft
