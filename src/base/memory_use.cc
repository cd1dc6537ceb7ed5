// SPDX-License-Identifier: Apache-2.0
#include "base/memory_use.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

namespace weft {
namespace {

// A mapping of the text; the counts are bytes.
struct Listed {
  std::uint64_t begin = 0, end = 0;
  std::int64_t huge = 0;
  bool counts_huge = false;
};

// "7f0c80000000-7f0c81000000 rw-p 00000000 00:00 0": a line that starts a mapping.
bool starts_mapping(const std::string& line, Listed& mapping) {
  unsigned long long begin = 0, end = 0;
  if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) != 2) return false;
  mapping = {.begin = begin, .end = end};
  return true;
}

// "AnonHugePages:     16384 kB"
void add_huge(const std::string& line, Listed& mapping) {
  long long kib = 0;
  if (std::sscanf(line.c_str(), "AnonHugePages: %lld kB", &kib) != 1 &&
      std::sscanf(line.c_str(), "ShmemPmdMapped: %lld kB", &kib) != 1)
    return;
  mapping.huge += kib * 1024;
  mapping.counts_huge = true;
}

// Pages of the range that are in memory, whoever touched them; -1 with errno.
std::int64_t resident_bytes(const std::byte* data, std::int64_t bytes) {
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  std::vector<unsigned char> pages(static_cast<std::size_t>((bytes + page - 1) / page));
  if (mincore(const_cast<std::byte*>(data), static_cast<std::size_t>(bytes), pages.data()) != 0)
    return -1;
  return page * std::ranges::count_if(pages, [](unsigned char p) { return (p & 1) != 0; });
}

// "always [madvise] never"
std::string chosen_word(const std::string& path) {
  std::ifstream file(path);
  for (std::string word; file >> word;)
    if (word.front() == '[' && word.back() == ']') return word.substr(1, word.size() - 2);
  return "";
}

}  // namespace

std::optional<std::int64_t> huge_page_bytes(std::istream& smaps, std::uint64_t begin,
                                            std::uint64_t end) {
  std::uint64_t covered = 0;
  std::int64_t huge = 0;
  Listed mapping;
  // False if the mapping, whose lines have all been read, leaves open what the range has of it.
  const auto add = [&] {
    const std::uint64_t first = std::max(begin, mapping.begin), last = std::min(end, mapping.end);
    if (first >= last) return true;
    const auto all = static_cast<std::int64_t>(mapping.end - mapping.begin);
    const bool within = mapping.begin >= begin && mapping.end <= end;
    if (!mapping.counts_huge || !(within || mapping.huge == 0 || mapping.huge == all)) return false;
    covered += last - first;
    huge += std::min(mapping.huge, static_cast<std::int64_t>(last - first));
    return true;
  };
  for (std::string line; std::getline(smaps, line);) {
    if (Listed next; starts_mapping(line, next)) {
      if (!add()) return std::nullopt;
      mapping = next;
    } else {
      add_huge(line, mapping);
    }
  }
  if (!add() || covered != end - begin) return std::nullopt;
  return huge;
}

Result<MemoryUse> memory_use(const std::byte* data, std::int64_t bytes) {
  MemoryUse use{.bytes = bytes};
  if (bytes == 0) return use;
  use.resident_bytes = resident_bytes(data, bytes);
  if (use.resident_bytes < 0)
    return Status(StatusCode::kUnimplemented,
                  fmt::format("mincore: {}; it is not known which pages are in memory",
                              std::strerror(errno)));
  std::ifstream smaps("/proc/self/smaps");
  const auto begin = reinterpret_cast<std::uint64_t>(data);
  const std::optional<std::int64_t> huge =
      huge_page_bytes(smaps, begin, begin + static_cast<std::uint64_t>(bytes));
  if (!huge)
    return Status(StatusCode::kUnimplemented,
                  "/proc/self/smaps does not say how many of the pages are huge");
  use.huge_page_bytes = *huge;
  return use;
}

HugePageSettings huge_page_settings(const std::string& root) {
  const std::string folder = root + "/sys/kernel/mm/transparent_hugepage/";
  return {chosen_word(folder + "enabled"), chosen_word(folder + "shmem_enabled")};
}

}  // namespace weft
