// SPDX-License-Identifier: Apache-2.0
#include "base/cgroup.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace weft {
namespace {

enum class Version { kOne, kTwo };

bool has_word(std::string_view comma_separated, std::string_view word) {
  while (!comma_separated.empty()) {
    const size_t comma = comma_separated.find(',');
    if (comma_separated.substr(0, comma) == word) return true;
    if (comma == std::string_view::npos) break;
    comma_separated.remove_prefix(comma + 1);
  }
  return false;
}

// Lines of /proc/self/cgroup: hierarchy:controllers:path; version 2 has hierarchy 0 and no
// controllers.
std::string group_path(const std::string& root, Version version) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool matches = version == Version::kTwo ? controllers.empty() && line.starts_with("0:")
                                                  : has_word(controllers, "cpu");
    if (matches) return line.substr(second + 1);
  }
  return "";
}

struct Mount {
  std::string top;    // path of the group that is mounted
  std::string point;  // where
};

// Lines of /proc/self/mountinfo: id parent device top point options [tags] - type source options.
std::vector<Mount> mounts(const std::string& root, Version version) {
  std::vector<Mount> found;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string id, parent, device, word, type, source, options;
    Mount mount;
    words >> id >> parent >> device >> mount.top >> mount.point;
    while (words >> word && word != "-") continue;
    words >> type >> source >> options;
    if (version == Version::kTwo ? type == "cgroup2" : type == "cgroup" && has_word(options, "cpu"))
      found.push_back(mount);
  }
  return found;
}

std::optional<double> quota_in(const std::string& folder, Version version) {
  double quota = 0, period = 0;
  if (version == Version::kTwo) {
    std::ifstream file(folder +
                       "/cpu.max");  // "150000 100000", or "max 100000", which is no number
    if (!(file >> quota >> period)) return std::nullopt;
  } else {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us");  // -1: none
    std::ifstream period_file(folder + "/cpu.cfs_period_us");
    if (!(quota_file >> quota) || !(period_file >> period)) return std::nullopt;
  }
  if (quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

// The part of `path` below `top`. In a container both name the host's path, or path leads outside
// of what is mounted; then the mount itself is the best that can be seen.
std::string below(std::string path, const std::string& top) {
  if (top != "/") {
    if (!path.starts_with(top)) return "";
    path.erase(0, top.size());
  }
  return path.find("..") == std::string::npos && path != "/" ? path : "";
}

}  // namespace

std::optional<double> cgroup_cpu_quota(const std::string& root) {
  std::optional<double> least;
  for (const Version version : {Version::kOne, Version::kTwo}) {
    const std::string path = group_path(root, version);
    if (path.empty()) continue;
    for (const Mount& mount : mounts(root, version)) {
      std::string group = below(path, mount.top);
      while (true) {  // a parent's quota holds for its children too
        if (const auto quota = quota_in(root + mount.point + group, version))
          least = std::min(least.value_or(*quota), *quota);
        if (group.empty()) break;
        group.erase(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
      }
    }
  }
  return least;
}

}  // namespace weft
